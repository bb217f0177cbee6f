"""Who waits for which model, and which slots are in use: the dispatcher's one place where a task meets a node."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from gateway.dispatcher.fair_queue import FairQueue
from gateway.dispatcher.scheduler import Placement, Wish, place
from streams.messages import is_about
from streams.subjects import SERVICE_CLASSES, TaskKey
from streams.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Callable, Set

    from gateway.dispatcher.scheduler import Regard
    from gateway.roster_feed import RosterFeed
    from streams.messages import Running
    from streams.roster import NodeView
    from streams.subjects import ServiceClass

_REMEMBER_S: Final = 15.0
"""How long an ended task is known as ours: a report that still lists it must not count as somebody else's."""


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

    def __init__(self, feed: RosterFeed, regard: Callable[[str], Regard]) -> None:
        """Watch the roster for slots that become free; ``regard`` says what is thought of a node."""
        self._feed = feed
        self._regard = regard
        self._waiting: dict[str, dict[ServiceClass, FairQueue[Ticket]]] = {}
        self._ours: dict[tuple[str, str], set[TaskKey]] = {}
        self._suspects: dict[str, TaskKey] = {}
        self._suspects_waiting: list[Ticket] = []
        self._ended: dict[TaskKey, float] = {}
        self._unsubscribe = feed.subscribe(self._on_change)

    def stop(self) -> None:
        """Watch no more."""
        self._unsubscribe()

    def ask(self, ticket: Ticket) -> Placement:
        """Place a task now if a slot is free and nobody waits before it; else it waits, and the answer says why."""
        placement = self._place(ticket.wish)
        is_behind = not ticket.wish.is_suspect and self._is_anyone_waiting(ticket.wish.model)
        if placement.node is not None and not is_behind:
            self._take(placement.node, ticket)
            return placement
        if ticket.wish.is_suspect:
            self._suspects_waiting.append(ticket)
        else:
            self._queue_of(ticket).add(ticket.key.account, ticket)
        return Placement(node=None, candidates=placement.candidates)

    def position(self, ticket: Ticket) -> int:
        """How many tasks are before this one."""
        classes = self._waiting.get(ticket.wish.model, {})
        urgent = SERVICE_CLASSES[: SERVICE_CLASSES.index(ticket.service_class)]
        before = sum(len(classes[name]) for name in urgent if name in classes)
        return before + self._queue_of(ticket).position(ticket.key.account, ticket)

    def withdraw(self, ticket: Ticket) -> None:
        """Wait no more."""
        if ticket in self._suspects_waiting:
            self._suspects_waiting.remove(ticket)
        self._queue_of(ticket).remove(ticket.key.account, ticket)

    def occupy(self, node: str, model: str, key: TaskKey) -> None:
        """Count a slot as used by a task of ours; also for one that another dispatcher has placed."""
        self._ours.setdefault((node, model), set()).add(key)

    def process_of(self, node: str) -> str | None:
        """The process that a node last reported from."""
        view = self._feed.roster.node(Token(node), now_s=self._feed.now_s())
        return view.status.process if view is not None and view.status is not None else None

    def _take(self, node: str, ticket: Ticket) -> None:
        self.occupy(node, ticket.wish.model, ticket.key)
        if ticket.wish.is_suspect:
            self._suspects[node] = ticket.key

    def release(self, node: str, model: str, key: TaskKey) -> None:
        """Count the slot as free again, and give it to who waits."""
        self._ours.get((node, model), set()).discard(key)
        if self._suspects.get(node) == key:
            del self._suspects[node]
        now = time.monotonic()
        self._ended[key] = now
        self._forget_before(now - _REMEMBER_S)
        self._grant(model)

    def _forget_before(self, then: float) -> None:
        # In order of ending, so the oldest stands first.
        while self._ended and (oldest := next(iter(self._ended.items())))[1] < then:
            del self._ended[oldest[0]]

    def _on_change(self, name: str) -> None:
        if not self._suspects_waiting and not any(self._is_anyone_waiting(model) for model in self._waiting):
            return
        node = self._feed.roster.node(Token(name), now_s=self._feed.now_s())
        for replica in node.replicas if node is not None else ():
            self._grant(replica.model)

    def _grant(self, model: str) -> None:
        self._grant_suspects(model)
        for service_class in SERVICE_CLASSES:
            queue = self._waiting.get(model, {}).get(service_class)
            while queue is not None and (ticket := queue.first()) is not None:
                placement = self._place(ticket.wish)
                if placement.node is None:
                    return
                queue.take()
                if not ticket.granted.done():
                    self._take(placement.node, ticket)
                    ticket.granted.set_result(placement)

    def _grant_suspects(self, model: str) -> None:
        # Before all others, since each node takes only one of them at a time; behind none, since they may wait long.
        for ticket in tuple(self._suspects_waiting):
            placement = self._place(ticket.wish) if ticket.wish.model == model else None
            if placement is not None and placement.node is not None:
                self._suspects_waiting.remove(ticket)
                if not ticket.granted.done():
                    self._take(placement.node, ticket)
                    ticket.granted.set_result(placement)

    def _place(self, wish: Wish) -> Placement:
        nodes = self._feed.roster.serving(wish.model, now_s=self._feed.now_s())
        in_use: dict[str, int] = {node.node: self._in_use(node, wish.model) for node in nodes}
        regards: dict[str, Regard] = {node.node: self._regard(node.node) for node in nodes}
        return place(wish, nodes, in_use, suspected=self._suspects, regards=regards)

    def _in_use(self, node: NodeView, model: str) -> int:
        ours = self._ours.get((node.node, model), set())
        running = node.status.running if node.status is not None else ()
        others = sum(1 for entry in running if entry.model in ("", model) and not self._is_known(entry, ours))
        return len(ours) + others

    def _is_known(self, entry: Running, ours: Set[TaskKey]) -> bool:
        if not entry.account:
            return any(is_about(entry, key) for key in (*ours, *self._ended))
        key = TaskKey(Token(entry.account), Token(entry.task))
        return key in ours or key in self._ended

    def _queue_of(self, ticket: Ticket) -> FairQueue[Ticket]:
        classes = self._waiting.setdefault(ticket.wish.model, {})
        return classes.setdefault(ticket.service_class, FairQueue())

    def _is_anyone_waiting(self, model: str) -> bool:
        return any(len(queue) > 0 for queue in self._waiting.get(model, {}).values())
