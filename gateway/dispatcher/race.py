"""A second node for the first word of an urgent task (ADR 18): asked out of sight, and given the task or sent away.

Whoever has the task goes on writing, whatever happens here. That the second node takes over is a marker like any other
assignment, under the fence: it cannot be written behind a word of the first one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from msgspec.structs import replace

from gateway.dispatcher.assignment import assignment
from gateway.dispatcher.task_run import Verdict
from gateway.errors import GatewayError
from mesh.errors import BusError
from streams import subjects
from streams.tasks.placing import Hedge
from streams.tasks.task import Phase

if TYPE_CHECKING:
    from gateway.dispatcher.placer import Placer
    from gateway.dispatcher.posting import Posting
    from gateway.dispatcher.task_run import TaskRun
    from gateway.scheduling.hedging import Patience
    from gateway.scheduling.placement import Placement
    from gateway.scheduling.wish import Wish
    from mesh.bus.link import Link
    from streams.events import TaskAssigned

log = logging.getLogger(__name__)

News = Literal["ready", "gone"]
"""What a second node makes known: it has words, or it will have none."""

AskSecond = Callable[[str, str], int]
"""Has a node begin with a model, out of sight; returns the number of the attempt that it would be."""


class _Second(NamedTuple):
    placement: Placement
    process: str | None
    attempt: int
    news: asyncio.Future[News]


class _First(NamedTuple):
    """Who has the task, and what was expected of it."""

    node: str
    model: str
    asked_model: str
    expected_s: float
    patience: Patience


class _HasBegun(GatewayError):
    """The first node has written: there is nothing more to win."""


class Race:
    """One task's; at most one second node is ever asked."""

    def __init__(self, edge: Link, placer: Placer, record: TaskRun, posting: Posting) -> None:
        """Begin with nobody but the node that has the task."""
        self.hedge: Hedge | None = None
        """What was tried, and what came of it; None: nothing."""
        self._edge = edge
        self._placer = placer
        self._record = record
        self._posting = posting
        self._second: _Second | None = None
        self._taken: Placement | None = None

    # --- what is heard -------------------------------------------------------------------------------------------

    def hear(self, node: str, attempt: int, news: News) -> None:
        """A node says something of an attempt that it was not assigned."""
        second = self._second
        if second is not None and (second.placement.node, second.attempt) == (node, attempt) and not second.news.done():
            second.news.set_result(news)

    def note_absence(self, node: str, process: str | None) -> None:
        """A node is not there, or reports from ``process`` now: if that is another one it has forgotten everything."""
        second = self._second
        if second is not None and second.placement.node == node and process != second.process:
            self.hear(node, second.attempt, "gone")

    @property
    def second(self) -> str | None:
        """The node that was asked too, while nothing is decided."""
        return None if self._second is None else self._second.placement.node

    # --- the way -------------------------------------------------------------------------------------------------

    async def verdict(self, placement: Placement | None, wish: Wish | None, ask: AskSecond) -> Verdict:
        """Wait for what comes of the attempt, with a second node asked where its first word is late.

        Raises:
            Superseded: if another dispatcher has taken the task.
            BusError: if the stream cannot be written for too long.
        """
        first = self._first(placement, wish)
        if first is None or wish is None:
            return await self._record.verdict
        loop = asyncio.get_running_loop()
        begun: asyncio.Future[float] = loop.create_future()
        at_s = loop.time()
        live = subjects.live_of(self._record.key, first.node)
        listener = await self._edge.listen(live, lambda _: _note_time(begun))
        try:
            await self._wait(begun, timeout_s=first.patience.after_s)
            is_late = not begun.done() and not self._record.verdict.done()
            if is_late and await self._ask(first, wish, ask) and (outrun := await self._run(first, begun, at_s)):
                return outrun
            await self._wait(begun)
        finally:
            await listener.close()
        if begun.done():
            self._placer.first_words.note(
                first.node, first.model, took_s=begun.result() - at_s, expected_s=first.expected_s
            )
        verdict = await self._record.verdict
        if verdict.kind != "failed" or (verdict.error is not None and verdict.error.status < 500):
            self._send_away("over", verdict.reason or verdict.kind)
        return verdict

    def kept(self) -> Placement | None:
        """The second node where the first one has failed before either had a word: it goes on, with the task."""
        second = self._second
        if second is None:
            return None
        if _has_text(self._record) or (second.news.done() and second.news.result() == "gone"):
            self._send_away("left", "the task goes on elsewhere")
            return None
        self._second = None
        self._note("won")
        return second.placement

    def hedge_of(self, placement: Placement) -> Hedge | None:
        """How a node came by the task, if it was asked beside another one."""
        return self.hedge if placement is self._taken else None

    def close(self) -> None:
        """The task is over, or somebody else's."""
        self._send_away("over", "the task is over here")
        self._release()

    def _first(self, placement: Placement | None, wish: Wish | None) -> _First | None:
        """Who is raced with; None where nobody is."""
        if placement is None or wish is None or placement.node is None or self.hedge is not None:
            return None
        if _has_text(self._record):
            return None
        expected_s = placement.first_token_s
        if expected_s is None or placement.serving < 2 or not self._placer.may_race(wish):
            return None
        node, model = placement.node, placement.model
        patience = self._placer.first_words.patience(node, model, expected_s=expected_s)
        return _First(node, model, wish.model, expected_s, patience)

    async def _wait(self, *others: asyncio.Future[Any], timeout_s: float | None = None) -> None:
        waits = (self._record.verdict, *others)
        await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)

    async def _ask(self, first: _First, wish: Wish, ask: AskSecond) -> bool:
        """Have a second node begin, if one may be had and nothing was written, heard or not."""
        record = self._record
        try:
            await record.read_node(first.node)
        except BusError as error:
            log.info("task %s is not hedged: %s", record.key.task, error)
            return False
        if _has_begun(record) or record.verdict.done():
            return False
        placement = self._placer.second(record.key, replace(wish, beside=first.node))
        if placement is None or placement.node is None:
            return False
        self._taken = placement
        attempt = ask(placement.node, placement.model)
        news: asyncio.Future[News] = asyncio.get_running_loop().create_future()
        self._second = _Second(placement, self._placer.process_of(placement.node), attempt, news)
        self.hedge = Hedge(
            attempt=record.state.attempt,
            beside=first.node,
            node=placement.node,
            waited_s=round(first.patience.after_s, 3),
            samples=first.patience.samples,
        )
        log.info("task %s: %s has no word after %.1f s", record.key.task, first.node, first.patience.after_s)
        return True

    async def _run(self, first: _First, begun: asyncio.Future[float], at_s: float) -> Verdict | None:
        """Let the two of them run until something decides; None where the first one keeps the task."""
        second, record = self._second, self._record
        if second is None or self.hedge is None:
            return None
        await self._wait(begun, second.news)
        if record.verdict.done():
            return None
        if begun.done():
            self._send_away("lost", "the other node was first")
            return None
        if second.news.result() == "gone":
            self._send_away("left", "it has refused, or is lost")
            return None
        attempt, hedge = record.state.attempt, replace(self.hedge, outcome="won")
        try:
            await record.write(lambda n: self._handover(n, attempt, second.placement, first.asked_model, hedge))
        except _HasBegun:
            self._send_away("lost", "the other node was first")
            return None
        self._second = None
        self._note("won")
        waited_s = asyncio.get_running_loop().time() - at_s
        self._placer.outpaced(first.node, first.model, expected_s=first.expected_s, waited_s=waited_s)
        self._posting.stop(first.node, attempt, f"{second.placement.node} was asked too, and was first")
        return Verdict(kind="outrun")

    def _handover(self, n: int, attempt: int, to: Placement, asked_model: str, hedge: Hedge) -> TaskAssigned:
        if self._record.state.attempt != attempt or _has_begun(self._record):
            raise _HasBegun
        return assignment(n, to, self._record.state, asked_model=asked_model, seam=None, hedge=hedge)

    # --- the end of it -------------------------------------------------------------------------------------------

    def _send_away(self, outcome: Literal["lost", "left", "over"], reason: str) -> None:
        second, self._second = self._second, None
        if second is None:
            return
        self._note(outcome)
        self._posting.stop(second.placement.node or "", second.attempt, reason)
        self._release()

    def _release(self) -> None:
        taken, self._taken = self._taken, None
        if taken is not None and taken.node is not None:
            self._placer.release(taken.node, taken.model, self._record.key)

    def _note(self, outcome: Literal["won", "lost", "left", "over"]) -> None:
        if self.hedge is not None:
            self.hedge = replace(self.hedge, outcome=outcome)


def _note_time(begun: asyncio.Future[float]) -> None:
    if not begun.done():
        begun.set_result(asyncio.get_running_loop().time())


def _has_text(record: TaskRun) -> bool:
    """Whether any attempt has written anything that stands: then the first word has been said."""
    return bool(record.state.chars or record.state.tokens)


def _has_begun(record: TaskRun) -> bool:
    """Whether anything of the current attempt counts, or it is over."""
    return record.state.phase is not Phase.RUNNING or bool(record.chunks)
