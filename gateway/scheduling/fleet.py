"""All seats there are, by model, kept up to date by what is heard of nodes; nothing is made anew for a placement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.scheduling.breaker import Breaker
from gateway.scheduling.occupancy import Occupancy
from gateway.scheduling.seat import Seat

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.devices.roster import NodeView
    from streams.subjects import TaskKey


class Seats:
    """The seats of one model; ``free`` are those with a slot to give, in no order."""

    __slots__ = ("all", "free", "version")

    def __init__(self) -> None:
        """Begin without any."""
        self.all: dict[str, Seat] = {}
        self.free: list[Seat] = []
        self.version = 0
        """Goes up whenever a replica of the model comes, goes or is announced anew."""

    def settle(self, seat: Seat) -> None:
        """Put a seat among the free ones, or take it from there, as its count says."""
        is_free = seat.in_use < seat.slots
        if is_free and seat.position < 0:
            seat.position = len(self.free)
            self.free.append(seat)
        elif not is_free and seat.position >= 0:
            self._take_out(seat)

    def remove(self, seat: Seat) -> None:
        """Forget a seat."""
        self.all.pop(seat.node, None)
        if seat.position >= 0:
            self._take_out(seat)

    def _take_out(self, seat: Seat) -> None:
        last = self.free.pop()
        if last is not seat:
            self.free[seat.position] = last
            last.position = seat.position
        seat.position = -1


NO_SEATS: Final = Seats()


class Fleet:
    """Fed with views of nodes, and with what is given to them and taken back."""

    def __init__(self) -> None:
        """Begin without nodes."""
        self._models: dict[str, Seats] = {}
        self._of_node: dict[str, dict[str, Seat]] = {}
        self.has_cloud = False
        """Whether a provider outside was ever announced: only then how hard a request is matters for a plain model."""
        self._breakers: dict[str, Breaker] = {}
        self._occupancy = Occupancy()

    def observe(self, view: NodeView) -> tuple[Seat, ...]:
        """Take a node as it stands now; returns the seats whose node was started again since it was last seen."""
        before = self._of_node.setdefault(view.node, {})
        announced = {replica.model for replica in view.replicas}
        for model in [model for model in before if model not in announced]:
            self._withdraw(before.pop(model))
        started_again: list[Seat] = []
        for replica in view.replicas:
            seat = before.get(replica.model)
            if seat is None:
                seat = before[replica.model] = Seat(view.node, replica, self.breaker(view.node))
                self._seats(replica.model).all[view.node] = seat
                self._seats(replica.model).version += 1
            elif seat.replica is not replica and seat.replica != replica:
                seat.announce(replica)
                self._seats(replica.model).version += 1
            self.has_cloud = self.has_cloud or replica.tier == "cloud"
            was = seat.process
            seat.report(view)
            if was and seat.process != was:
                started_again.append(seat)
            self._recount(seat)
        return tuple(started_again)

    def breaker(self, node: str) -> Breaker:
        """What keeps tasks from a node that fails time after time."""
        breaker = self._breakers.get(node)
        if breaker is None:
            breaker = self._breakers[node] = Breaker()
        return breaker

    def forget(self, node: str) -> None:
        """Take a node out altogether."""
        self._breakers.pop(node, None)
        for seat in self._of_node.pop(node, {}).values():
            self._withdraw(seat)

    def occupy(self, node: str, model: str, key: TaskKey) -> None:
        """Count a slot as used by a task of ours; also for one that another dispatcher has placed."""
        self._occupancy.occupy(node, model, key)
        self._recount_at(node, model)

    def release(self, node: str, model: str, key: TaskKey, *, now_s: float) -> None:
        """Count it as free again."""
        self._occupancy.release(node, model, key, now_s=now_s)
        self._recount_at(node, model)

    @property
    def nodes(self) -> int:
        """How many nodes were ever heard of."""
        return len(self._of_node)

    def seats(self, model: str) -> Seats:
        """The seats of a model."""
        return self._models.get(model, NO_SEATS)

    def seat(self, node: str, model: str) -> Seat | None:
        """One seat, or None if the node does not serve the model."""
        return self._of_node.get(node, {}).get(model)

    def seats_of(self, node: str) -> Iterable[Seat]:
        """All seats of a node."""
        return self._of_node.get(node, {}).values()

    def _seats(self, model: str) -> Seats:
        return self._models.setdefault(model, Seats())

    def _withdraw(self, seat: Seat) -> None:
        seats = self._seats(seat.model)
        seats.remove(seat)
        seats.version += 1

    def _recount_at(self, node: str, model: str) -> None:
        # A release may change how other replicas of the node count what its report lists without a model.
        for seat in self.seats_of(node):
            if seat.model == model or seat.status is not None:
                self._recount(seat)

    def _recount(self, seat: Seat) -> None:
        seat.in_use = self._occupancy.in_use(seat.node, seat.model, seat.status)
        self._seats(seat.model).settle(seat)
