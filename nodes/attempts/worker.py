"""The worker of a node: takes assignments, runs them side by side, reports how each ended.

The handlers are called from the connection's read loop: they decide and start tasks, and never wait.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from mesh.bus.headers import TRACEPARENT, header
from mesh.telemetry.names import (
    ATTRIBUTE_ATTEMPT,
    ATTRIBUTE_MODEL,
    ATTRIBUTE_NODE,
    ATTRIBUTE_TASK,
    SPAN_GENERATE,
)
from mesh.telemetry.telemetry import Telemetry
from nodes.attempts.admission import Objection, Occupancy, objection_to
from nodes.attempts.attempt import Attempt
from nodes.attempts.reports import Reports
from nodes.presence.health import STUCK_S, EngineHealth
from streams import subjects
from streams.clock import now_ms
from streams.codec import decode
from streams.errors import StreamsError
from streams.messages import Assign, Refused, ReplicaLoad, Running, Stop, is_about
from streams.subjects import TaskKey
from streams.tasks.task_id import parse_task_id
from streams.tokens import token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mesh.bus.direct_client import Delivery
    from mesh.bus.link import Link
    from mesh.telemetry.telemetry import Span
    from nodes.attempts.attempt import Report
    from nodes.attempts.chunk_writer import Sign
    from nodes.embedding import AnyEngine
    from nodes.models.loaded import Served
    from streams.messages import Replica
    from streams.tokens import Token

log = logging.getLogger(__name__)

HAND_OVER: Final = timedelta(seconds=3)
"""How long a node that stops tries to store what it has generated, and waits for an engine to let go."""


class _Run(NamedTuple):
    attempt: Attempt
    doing: asyncio.Task[Report | None]


class Worker:
    """Runs what is assigned to one node."""

    def __init__(
        self,
        link: Link,
        node: Token,
        served: Iterable[Served],
        telemetry: Telemetry | None = None,
        *,
        sign: Sign | None = None,
    ) -> None:
        """Serve ``served`` as ``node``, once ``listen`` was called; no dispatcher believes answers without ``sign``."""
        self._sign = sign
        self._telemetry = telemetry or Telemetry.off()
        self._link = link
        self._node = node
        self._served: dict[str, Served] = {}
        self._leaving: set[str] = set()
        self._health: dict[str, EngineHealth] = {}
        self._broken: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._watchers: list[Callable[[], None]] = []
        self._runs: dict[TaskKey, _Run] = {}
        self._open: dict[asyncio.Task[Report | None], str] = {}
        self._busy: Counter[str] = Counter()
        self._past_tokens: Counter[str] = Counter()
        self._reports = Reports(link, node)
        self._draining = False
        self._has_begun = False
        for entry in served:
            self.serve(entry)

    def serve(self, entry: Served) -> None:
        """Take assignments for one more model from now on."""
        model = entry.replica.model
        self._served[model] = entry
        self._health[model] = EngineHealth(entry.engine, self.break_down)
        self._changed()

    @property
    def draining(self) -> bool:
        """Whether new assignments are refused because the node is about to stop."""
        return self._draining

    @property
    def replicas(self) -> tuple[Replica, ...]:
        """What this node can serve now: not what it is about to unload, nor what is away."""
        return tuple(
            entry.replica
            for model, entry in self._served.items()
            if model not in self._leaving and entry.engine.load().away is None
        )

    def engine_of(self, model: str) -> AnyEngine | None:
        """The engine of a model, or None if this node does not serve it."""
        entry = self._served.get(model)
        return None if entry is None else entry.engine

    def watch(self, on_change: Callable[[], None]) -> None:
        """Call ``on_change`` from now on whenever the load changes."""
        self._watchers.append(on_change)

    def begin(self) -> None:
        """Take what is heard from now on."""
        self._has_begun = True

    async def listen(self, *, begins: bool = True) -> None:
        """Begin to hear assignments and stops; without ``begins`` they are another process's until ``begin``."""
        self._has_begun = begins
        await self._link.listen(subjects.node_inbox(self._node, "assign"), self._on_assign)
        await self._link.listen(subjects.node_inbox(self._node, "stop"), self._on_stop)

    async def broken(self) -> str:
        """Wait until an engine is found broken; returns why. It gets no work from then on."""
        return await asyncio.shield(self._broken)

    async def drain(self, limit: timedelta) -> None:
        """Take nothing new, let what runs finish within ``limit``, and hand the rest back to the dispatcher.

        What is handed back is stored first as far as it was generated, for ``HAND_OVER`` at most: this returns not
        much later than both together.
        """
        self._draining = True
        self._changed()
        await self._finish(limit, None)

    def retire(self, model: str) -> None:
        """Take nothing new for a model, and leave it out of ``replicas``; ``release`` follows."""
        self._leaving.add(model)
        self._changed()

    async def release(self, model: str, limit: timedelta) -> None:
        """Do for one model what ``drain`` does for all, and serve it no more: its engine may then be stopped."""
        self.retire(model)
        await self._finish(limit, model)
        self._leaving.discard(model)
        self._served.pop(model, None)
        self._health.pop(model, None)
        self._changed()

    async def _finish(self, limit: timedelta, model: str | None) -> None:
        self._give_back_hidden(model)
        await self._all_ended(limit, model)
        for run in self._runs_of(model):
            run.attempt.hand_over()
        await self._all_ended(HAND_OVER, model)
        unfinished = [run for run in self._runs_of(model) if run.doing.cancel()]
        await self._all_ended(HAND_OVER, model)
        for attempt in (run.attempt for run in unfinished):
            report = attempt.refused("node_stopping", "the node was shut down before the end", 503)
            self._reports.ended(attempt.key, attempt.number, report)

    def _give_back_hidden(self, model: str | None) -> None:
        for run in self._runs_of(model):
            if run.attempt.is_hidden:
                self._reports.tell(run.attempt.refused("node_stopping", "the node is being shut down", 503))
                self._cancel(run)

    def _runs_of(self, model: str | None) -> tuple[_Run, ...]:
        return tuple(run for run in self._runs.values() if model in {None, run.attempt.model})

    async def _all_ended(self, limit: timedelta, model: str | None) -> None:
        running = [doing for doing, its in self._open.items() if model in {None, its}]
        if running:
            await asyncio.wait(running, timeout=limit.total_seconds())

    def running(self) -> tuple[Running, ...]:
        """What runs now, with a counter each that shows whether it still moves."""
        runs = (run.attempt for run in self._runs.values())
        return tuple(
            Running(task=run.key.task, attempt=run.number, model=run.model, tokens=run.tokens, account=run.key.account)
            for run in runs
        )

    def tokens_by_model(self) -> Counter[str]:
        """Completion tokens generated since the start, and those of texts that became vectors."""
        total = self._past_tokens.copy()
        for run in self._runs.values():
            total[run.attempt.model] += run.attempt.tokens
        return total

    def loads(self, tokens_per_s: dict[str, float]) -> tuple[ReplicaLoad, ...]:
        """How busy each replica is."""
        return tuple(
            ReplicaLoad(
                model=model,
                slots=entry.replica.slots,
                busy=self._busy[model],
                tokens_per_s=tokens_per_s.get(model, 0.0),
            )
            for model, entry in self._served.items()
        )

    def _on_assign(self, delivery: Delivery) -> None:
        if not self._has_begun:
            return
        try:
            assign = decode(delivery.data, Assign)
            key = TaskKey(token(assign.account), parse_task_id(assign.task))
        except StreamsError as error:
            log.warning("ignored what is no assignment: %s", error)
            return
        if delivery.reply != ("" if assign.hedge else subjects.result(key, self._node)):
            log.warning("task %s: ignored an assignment that grants %r", key.task, delivery.reply)
            return
        self._take(assign, key, delivery)

    def _take(self, assign: Assign, key: TaskKey, delivery: Delivery) -> None:
        run = self._runs.get(key)
        if run is not None and run.attempt.number >= assign.attempt and not _gives_way(run, assign):
            if run.attempt.number == assign.attempt and not assign.hedge:
                run.attempt.renew(assign, delivery.reply)
            return
        if self._reports.has_ended(assign):
            return
        objection = objection_to(assign, self._occupancy(run), now_ms=now_ms(), draining=self._draining)
        if objection is not None:
            self._reports.tell(_refusal(assign, objection))
            return
        self._start(assign, key, delivery, run)

    def _start(self, assign: Assign, key: TaskKey, delivery: Delivery, superseded: _Run | None) -> None:
        attempt = Attempt(
            link=self._link,
            node=self._node,
            served=self._served[assign.model],
            assign=assign,
            key=key,
            subject=delivery.reply,
            span=self._span(assign, delivery),
            sign=self._sign,
        )
        if superseded is not None:
            self._cancel(superseded)
        run = attempt.run() if superseded is None else _run_after(superseded.doing, attempt)
        doing = asyncio.create_task(run, name=f"attempt-{key.task}-{assign.attempt}")
        self._runs[key] = _Run(attempt, doing)
        self._open[doing] = attempt.model
        self._busy[attempt.model] += 1
        doing.add_done_callback(lambda done: self._on_end(attempt, done))
        self._changed()

    def _span(self, assign: Assign, delivery: Delivery) -> Span:
        return self._telemetry.span(
            SPAN_GENERATE,
            parent=header(delivery.headers, TRACEPARENT),
            attributes={
                ATTRIBUTE_TASK: assign.task,
                ATTRIBUTE_ATTEMPT: assign.attempt,
                ATTRIBUTE_NODE: self._node,
                ATTRIBUTE_MODEL: assign.model,
            },
        )

    def _on_end(self, attempt: Attempt, done: asyncio.Task[Report | None]) -> None:
        self._open.pop(done, None)
        self._busy[attempt.model] -= 1
        self._past_tokens[attempt.model] += attempt.tokens
        run = self._runs.get(attempt.key)
        if run is not None and run.doing is done:
            del self._runs[attempt.key]
        report = None if done.cancelled() else done.result()
        if attempt.model in self._health:
            self._health[attempt.model].note(report)
        if attempt.is_hidden:
            # Nobody has seen anything of it: the same attempt may yet be assigned to this node.
            self._reports.tell(report)
        else:
            self._reports.ended(attempt.key, attempt.number, report)
        self._changed()

    def _on_stop(self, delivery: Delivery) -> None:
        try:
            stop = decode(delivery.data, Stop)
        except StreamsError as error:
            log.warning("ignored what is no stop: %s", error)
            return
        meant = [run for key, run in self._runs.items() if is_about(stop, key)]
        if len(meant) == 1 and meant[0].attempt.number <= stop.attempt:
            log.info("task %s: attempt %d stops: %s", stop.task, meant[0].attempt.number, stop.reason)
            self._cancel(meant[0])

    def _cancel(self, run: _Run) -> None:
        run.doing.cancel()
        asyncio.get_running_loop().call_later(STUCK_S, self._look_whether_stuck, run)

    def _look_whether_stuck(self, run: _Run) -> None:
        if not run.doing.done() and run.attempt.model in self._health:
            self._health[run.attempt.model].suspect("it does not let go of an answer that was cancelled")

    def break_down(self, reason: str) -> None:
        """Have ``broken`` return: an engine is of no use any more."""
        log.error("%s", reason)
        if not self._broken.done():
            self._broken.set_result(reason)

    def _changed(self) -> None:
        for watcher in self._watchers:
            watcher()

    def _occupancy(self, superseded: _Run | None) -> dict[str, Occupancy]:
        leaving = None if superseded is None else superseded.attempt.model
        return {
            model: Occupancy(
                slots=entry.replica.slots,
                busy=self._busy[model] - (model == leaving),
                is_suspect=self._health[model].is_suspect,
                is_leaving=model in self._leaving,
                away=entry.engine.load().away,
                kind=entry.replica.kind,
            )
            for model, entry in self._served.items()
        }


def _gives_way(run: _Run, assign: Assign) -> bool:
    """Whether hidden work is of no use to the attempt that is assigned now: it was stopped, or began from elsewhere."""
    is_of_no_use = run.doing.cancelling() > 0 or not run.attempt.fits(assign)
    return run.attempt.is_hidden and not assign.hedge and run.attempt.number == assign.attempt and is_of_no_use


async def _run_after(superseded: asyncio.Task[Report | None], attempt: Attempt) -> Report | None:
    """Run once the older attempt has left its slot."""
    await asyncio.wait((superseded,))
    return await attempt.run()


def _refusal(assign: Assign, objection: Objection) -> Refused:
    return Refused(
        task=assign.task,
        attempt=assign.attempt,
        dispatcher=assign.dispatcher,
        code=objection.code,
        message=objection.message,
        status=objection.status,
        account=assign.account,
    )
