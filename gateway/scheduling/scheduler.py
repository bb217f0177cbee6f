"""The scheduler: all that one dispatcher knows of nodes, and the choice made from it. No I/O, no clock of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.scheduling.case import Case
from gateway.scheduling.choosing import choose
from gateway.scheduling.fleet import Fleet
from gateway.scheduling.hedging import SECOND
from gateway.scheduling.policies import EDGE_FIRST, POLICIES, PRIVATE
from gateway.scheduling.prefixes import PrefixMemory
from gateway.scheduling.stint import SHORTEST_S, Order, Stint
from streams.subjects import TaskKey
from streams.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping, Sequence

    from gateway.scheduling.fleet import Seats
    from gateway.scheduling.placement import Placement
    from gateway.scheduling.policy import Policy
    from gateway.scheduling.prefixes import Place
    from gateway.scheduling.seat import Seat
    from gateway.scheduling.wish import Regard, Wish
    from streams.devices.roster import NodeView
    from streams.messages import NodeStatus
    from streams.tasks.chat import Usage


class Scheduler:
    """Told of everything that happens, with ``now_s`` of one clock that only goes forward; see the package."""

    def __init__(self, *, policy: Policy = EDGE_FIRST, regard_of: Callable[[str], Regard] | None = None) -> None:
        """Begin without nodes; ``regard_of`` says what is thought of a node, and is asked at each placement."""
        self.fleet = Fleet()
        self.prefixes = PrefixMemory()
        self._policy = policy
        self._orders: dict[tuple[TaskKey, str], Order] = {}
        self._regard_of = regard_of

    def observe(self, view: NodeView) -> None:
        """A node has announced, reported, been lost or come back: this is how it stands."""
        for seat in self.fleet.observe(view):
            seat.breaker.close()
            self.prefixes.forget((seat.node, seat.model))
        if view.status is not None and view.heard_at_s is not None and self._orders:
            self._note_ways(view, view.status, view.heard_at_s)

    def place(self, wish: Wish, *, now_s: float, suspected: Container[str] = ()) -> Placement:
        """Choose a node for a wish. Nothing is changed by it: ``take`` does that.

        Args:
            wish: what the task needs.
            now_s: the clock.
            suspected: nodes that run a suspect.
        """
        among = [self.fleet.seats(model) for model in wish.able_models]
        read = self.prefixes.tokens_read(wish.prefix) if wish.prefix else None
        case = Case(
            wish,
            now_s=now_s,
            regard_of=self._regard_of,
            suspected=suspected,
            cached_tokens_at=read,
            widest_context=lambda: _widest(among, now_s),
        )
        # What this version does not know may be stricter than all that it knows.
        policy = POLICIES.get(wish.rules.policy, PRIVATE) if wish.rules.policy else self._policy
        if wish.beside:
            policy = policy._replace(filters=(*SECOND, *policy.filters))
        return choose(case, among, policy, first=self._readers(read or {}, wish))

    def take(self, node: str, model: str, key: TaskKey, wish: Wish | None = None, *, now_s: float) -> None:
        """A node has got a task: a slot is in use, and it reads the prompt. Without a wish only the slot counts."""
        self.fleet.occupy(node, model, key)
        seat = self.fleet.seat(node, model)
        if seat is None or wish is None:
            return
        seat.given_at_s = now_s
        seat.breaker.taken()
        replica = seat.replica
        self.prefixes.note((node, model), wish.prefix, capacity_tokens=replica.context_tokens * replica.slots)

    def sent(self, node: str, model: str, key: TaskKey, *, now_s: float) -> None:
        """The order goes out to the node now: its first report that lists the task says how long the way is."""
        seat = self.fleet.seat(node, model)
        if seat is not None:
            self._orders[key, node] = Order(seat, now_s, seat.slots / max(seat.slots - seat.in_use + 1, 1))

    def release(self, node: str, model: str, key: TaskKey, *, now_s: float) -> Stint | None:
        """A node has done with a task, however that went; returns what ``completed`` is asked with, if it went well."""
        order = self._orders.pop((key, node), None)
        self.fleet.breaker(node).released()
        self.fleet.release(node, model, key, now_s=now_s)
        return None if order is None else Stint(order, now_s - order.at_s)

    def completed(self, stint: Stint, usage: Usage) -> None:
        """A node has written a whole answer by itself, and it is believed."""
        stint.learn(usage)

    def failed(self, node: str, *, now_s: float) -> None:
        """A node has failed a task, in a way that says something of the node; before the task is released."""
        self.fleet.breaker(node).failed(now_s)

    def outpaced(self, node: str, model: str, *, expected_s: float, waited_s: float, now_s: float) -> None:
        """A second node was first: the one that had the task is slower than was thought; before it is released.

        Time after time, and it is given nothing for a while.
        """
        self.fleet.breaker(node).failed(now_s)
        seat = self.fleet.seat(node, model)
        if seat is not None and expected_s > 0:
            seat.measure(took_s=max(waited_s, expected_s), expected_s=expected_s)

    def _note_ways(self, view: NodeView, status: NodeStatus, heard_at_s: float) -> None:
        for entry in status.running:
            key = TaskKey(Token(entry.account), Token(entry.task)), view.node
            order = self._orders.get(key)
            if order is not None and not order.is_acknowledged:
                self._orders[key] = order._replace(is_acknowledged=True)
                order.seat.measure_way(max(heard_at_s - order.at_s, SHORTEST_S))

    def _readers(self, read: Mapping[Place, int], wish: Wish) -> Iterator[Seat]:
        """Seats that have read the prompt before: a large mesh looks at them whatever it draws."""
        for node, model in read:
            seat = self.fleet.seat(node, model)
            if seat is not None and seat.in_use < seat.slots and model in wish.able_models:
                yield seat


def _widest(among: Sequence[Seats], now_s: float) -> int:
    live = (seat.replica.context_tokens for seats in among for seat in seats.all.values() if now_s <= seat.live_until_s)
    return max(live, default=0)
