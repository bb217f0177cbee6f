"""Who waits for which model, and which slots are in use: the dispatcher's one place where a task meets a node."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from gateway.dispatcher.fair_queue import FairQueue
from gateway.dispatcher.wishing import wish_of
from gateway.scheduling.aliases import aliases_of
from gateway.scheduling.hedging import Allowance, FirstWords, is_urgent
from gateway.scheduling.policies import EDGE_FIRST
from gateway.scheduling.prefixes import blocks_of
from gateway.scheduling.scheduler import Scheduler
from streams.clock import now_ms
from streams.subjects import SERVICE_CLASSES
from streams.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.roster.feed import RosterFeed
    from gateway.scheduling.aliases import Alias
    from gateway.scheduling.placement import Placement
    from gateway.scheduling.policy import Policy
    from gateway.scheduling.stint import Stint
    from gateway.scheduling.wish import Regard, Wish
    from streams.devices.replica import Tier
    from streams.events import TaskCompleted, TaskSubmitted
    from streams.subjects import ServiceClass, TaskKey
    from streams.tasks.task import TaskState

_SALT_BYTES: Final = 32
_LEAST_NODES: Final = 2

_MOST_LET_BY: Final = 32
"""How many that cannot be placed now, for reasons of their own, are passed in a queue each time that a slot is free."""

NO_ALIASES: Final[Mapping[str, Alias]] = {}


class Ticket:
    """One task that wants a node."""

    __slots__ = ("granted", "key", "service_class", "wish")

    def __init__(self, key: TaskKey, service_class: ServiceClass, wish: Wish) -> None:
        """Made for each attempt."""
        self.key = key
        self.service_class: ServiceClass = service_class
        self.wish = wish
        self.granted: asyncio.Future[Placement] = asyncio.get_running_loop().create_future()


class Placer:
    """Grants slots: at once where one is free, else in fair order, urgent classes first."""

    def __init__(
        self,
        feed: RosterFeed,
        regard: Callable[[str], Regard],
        policy: Policy = EDGE_FIRST,
        aliases: Mapping[str, Alias] = NO_ALIASES,
        *,
        hedge_share: float = 0.0,
        hedge_after: timedelta = timedelta(0),
    ) -> None:
        """Watch the roster for slots that become free; ``regard`` says what is thought of a node.

        ``hedge_share`` of all attempts may have a second node, none of them before ``hedge_after``.
        """
        self.first_words = FirstWords(hedge_after.total_seconds())
        self._allowance = Allowance(hedge_share)
        self._policy = policy
        self.aliases = aliases
        self._names_of = aliases_of(aliases)
        self._turn = 0
        self.scheduler = Scheduler(policy=policy, regard_of=regard)
        self._salt = os.urandom(_SALT_BYTES)
        self._feed = feed
        self._waiting: dict[str, dict[ServiceClass, FairQueue[Ticket]]] = {}
        """Only models that somebody waits for."""
        self._suspects: dict[str, TaskKey] = {}
        self._suspects_waiting: list[Ticket] = []
        self._unsubscribe = feed.subscribe(self._on_change)

    def start(self) -> None:
        """Take in what the roster knows already."""
        for view in self._feed.roster.nodes(now_s=self._feed.now_s()):
            self.scheduler.observe(view)

    def stop(self) -> None:
        """Watch no more."""
        self._unsubscribe()

    def now_s(self) -> float:
        """Seconds on a clock that stands still while nodes cannot be heard."""
        return self._feed.now_s()

    def ask(self, ticket: Ticket) -> Placement:
        """Place a task now if a slot is free and nobody waits before it; else it waits, and the answer says why."""
        placement = self._place(ticket.wish)
        is_behind = not ticket.wish.is_suspect and ticket.wish.model in self._waiting
        if placement.node is not None and not is_behind:
            self._take(placement, placement.node, ticket)
            return placement
        if ticket.wish.is_suspect:
            self._suspects_waiting.append(ticket)
            return replace(placement, node=None)
        classes = self._waiting.setdefault(ticket.wish.model, {})
        classes.setdefault(ticket.service_class, FairQueue()).add(ticket.key.account, ticket)
        if placement.node is not None:
            # Those before it may wait for what this one does not need.
            self._grant(placement.model)
        return ticket.granted.result() if ticket.granted.done() else replace(placement, node=None)

    def wish(self, key: TaskKey, asked: TaskSubmitted, service_class: ServiceClass, state: TaskState) -> Wish:
        """What the next attempt at a task that stands at ``state`` needs of a node."""
        needs_level = self.scheduler.fleet.has_cloud
        alias = self.aliases.get(asked.model)
        wish = wish_of(key, asked, service_class, state, at_ms=now_ms(), alias=alias, needs_level=needs_level)
        return replace(wish, prefix=self.blocks_of(key.account, asked))

    def position(self, ticket: Ticket) -> int:
        """How many tasks are before this one."""
        classes = self._waiting.get(ticket.wish.model, {})
        urgent = SERVICE_CLASSES[: SERVICE_CLASSES.index(ticket.service_class)]
        before = sum(len(classes[name]) for name in urgent if name in classes)
        own = classes.get(ticket.service_class)
        return before if own is None else before + own.position(ticket.key.account, ticket)

    def withdraw(self, ticket: Ticket) -> None:
        """Wait no more."""
        if ticket in self._suspects_waiting:
            self._suspects_waiting.remove(ticket)
        queue = self._waiting.get(ticket.wish.model, {}).get(ticket.service_class)
        if queue is not None:
            queue.remove(ticket.key.account, ticket)
            self._forget_if_empty(ticket.wish.model)

    def may_race(self, wish: Wish) -> bool:
        """Whether a second node may be asked for the first word of such a task at all; vectors have no words."""
        return self._allowance.is_open and wish.kind == "chat" and is_urgent(wish, self._policy.name)

    def second(self, key: TaskKey, wish: Wish) -> Placement | None:
        """Find a second node, and count its slot as used; None where there is none that nobody else waits for."""
        names = {name for model in wish.able_models for name in (model, *self._names_of.get(model, ()))}
        if self._suspects_waiting or any(name in self._waiting for name in {wish.model, *names}):
            return None
        placement = self._place(wish)
        if placement.node is None or not self._allowance.spend():
            return None
        self.scheduler.take(placement.node, placement.model, key, wish, now_s=self._feed.now_s())
        return placement

    def outpaced(self, node: str, model: str, *, expected_s: float, waited_s: float) -> None:
        """A second node had the first word after ``waited_s``: so late, at least, the first one's would have been."""
        self.first_words.note(node, model, took_s=waited_s, expected_s=expected_s)
        now_s = self._feed.now_s()
        self.scheduler.outpaced(node, model, expected_s=expected_s, waited_s=waited_s, now_s=now_s)

    def occupy(self, node: str, model: str, key: TaskKey) -> None:
        """Count a slot as used by a task of ours; also for one that another dispatcher has placed."""
        self.scheduler.take(node, model, key, now_s=self._feed.now_s())

    def sent(self, node: str, model: str, key: TaskKey) -> None:
        """The node's order has gone out."""
        self.scheduler.sent(node, model, key, now_s=self._feed.now_s())

    def failed(self, node: str) -> None:
        """A node has failed a task."""
        self.scheduler.failed(node, now_s=self._feed.now_s())

    def learn(self, stint: Stint | None, end: TaskCompleted) -> None:
        """Learn from an answer that is believed, if one node has written all of it."""
        if stint is not None and len(end.shares) == 1:
            self.scheduler.completed(stint, end.usage)

    def blocks_of(self, account: str, asked: TaskSubmitted) -> tuple[bytes, ...]:
        """Cut a prompt into blocks, as nodes are remembered to have read them; none, where there is no choice."""
        if self.scheduler.fleet.nodes < _LEAST_NODES:
            return ()
        return blocks_of(asked.messages, asked.prompt, account=account, salt=self._salt)

    def process_of(self, node: str) -> str | None:
        """The process that a node last reported from."""
        view = self._feed.roster.node(Token(node), now_s=self._feed.now_s())
        return view.status.process if view is not None and view.status is not None else None

    def dimensions_of(self, node: str, model: str) -> int | None:
        """How many numbers a vector of a node's model has, as it has announced; None: nobody knows, or it writes."""
        seat = self.scheduler.fleet.seat(node, model)
        return None if seat is None else seat.replica.dimensions

    def tier_of(self, node: str, model: str) -> Tier:
        """Where a node runs a model, as it has said last; of a node that is not known any more the usual."""
        view = self._feed.roster.node(Token(node), now_s=self._feed.now_s())
        replica = None if view is None else view.replica_of(model)
        return "edge" if replica is None else replica.tier

    def _take(self, placement: Placement, node: str, ticket: Ticket) -> None:
        self.scheduler.take(node, placement.model, ticket.key, ticket.wish, now_s=self._feed.now_s())
        self._allowance.earn()
        if ticket.wish.is_suspect:
            self._suspects[node] = ticket.key

    def release(self, node: str, model: str, key: TaskKey) -> Stint | None:
        """Count the slot as free again, and give it to who waits; returns what there may be to ``learn`` from."""
        stint = self.scheduler.release(node, model, key, now_s=self._feed.now_s())
        if self._suspects.get(node) == key:
            del self._suspects[node]
        self._grant(model)
        return stint

    def _on_change(self, name: str) -> None:
        node = self._feed.roster.node(Token(name), now_s=self._feed.now_s())
        if node is None:
            return
        self.scheduler.observe(node)
        if self._suspects_waiting or self._waiting:
            for replica in node.replicas:
                self._grant(replica.model)

    def _grant(self, model: str) -> None:
        if self._suspects_waiting:
            self._grant_suspects(model)
        if not self._waiting:
            return
        names = (model, *self._names_of.get(model, ()))
        # Those that wait for the model and those that wait for an alias of it come first by turns.
        self._turn = (self._turn + 1) % len(names)
        for service_class in SERVICE_CLASSES:
            for name in (*names[self._turn :], *names[: self._turn]):
                self._grant_queue(self._waiting.get(name, {}).get(service_class))

    def _grant_queue(self, queue: FairQueue[Ticket] | None) -> None:
        """Give what is free to who waits, in order; who waits for something particular lets others by."""
        let_by = 0
        while queue is not None and let_by < _MOST_LET_BY:
            for account, ticket in queue.in_order():
                placement = self._place(ticket.wish)
                if placement.node is not None:
                    queue.serve(account, ticket)
                    self._forget_if_empty(ticket.wish.model)
                    self._give(placement, placement.node, ticket)
                    break
                let_by += 1
                if placement.is_full or let_by == _MOST_LET_BY:
                    return
            else:
                return

    def _give(self, placement: Placement, node: str, ticket: Ticket) -> None:
        if not ticket.granted.done():
            self._take(placement, node, ticket)
            ticket.granted.set_result(placement)

    def _grant_suspects(self, model: str) -> None:
        # Before all others, since each node takes only one of them at a time; behind none, since they may wait long.
        for ticket in tuple(self._suspects_waiting):
            placement = self._place(ticket.wish) if model in ticket.wish.able_models else None
            if placement is not None and placement.node is not None:
                self._suspects_waiting.remove(ticket)
                self._give(placement, placement.node, ticket)

    def _place(self, wish: Wish) -> Placement:
        return self.scheduler.place(wish, now_s=self._feed.now_s(), suspected=self._suspects)

    def _forget_if_empty(self, model: str) -> None:
        if not any(len(queue) for queue in self._waiting.get(model, {}).values()):
            self._waiting.pop(model, None)
