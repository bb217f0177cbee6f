"""The life of one task in the hands of one dispatcher, from the queue to its end (DESIGN, "Life of a task")."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gateway.dispatcher import ending, gate, retrying
from gateway.dispatcher.assignment import assignment
from gateway.dispatcher.metering import metered
from gateway.dispatcher.placer import Ticket
from gateway.dispatcher.posting import Posting
from gateway.dispatcher.race import Race
from gateway.dispatcher.task_run import Superseded, TaskRun, Verdict
from gateway.errors import GatewayError
from mesh.bus.headers import TRACEPARENT, header
from mesh.telemetry.names import (
    ATTRIBUTE_ATTEMPT,
    ATTRIBUTE_CLASS,
    ATTRIBUTE_MODEL,
    ATTRIBUTE_OUTCOME,
    ATTRIBUTE_TASK,
    SPAN_DISPATCH,
    TASKS_ENDED,
)
from streams.clock import now_ms
from streams.devices.reputation import INVALID_RESULT
from streams.events import TaskError, TaskHalted, TaskQueued, TaskRequeued, TaskSubmitted
from streams.tasks.task import Phase, closing

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from gateway.dispatcher.placer import Placer
    from gateway.dispatcher.plausible import Fault
    from gateway.dispatcher.settings import DispatcherSettings
    from gateway.dispatcher.spot_checks import Checks
    from gateway.scheduling.placement import Placement
    from gateway.scheduling.stint import Stint
    from gateway.scheduling.wish import Wish
    from mesh.bus.service_bus import Bus
    from mesh.bus.work import Work
    from mesh.telemetry.telemetry import Telemetry
    from streams.events import ChunkSignature, EndEvent, TaskEnded
    from streams.subjects import ServiceClass, Submission

log = logging.getLogger(__name__)


class TaskLife:
    """Sees one task to its end; ``run`` returns when it is acknowledged, or given up to another dispatcher."""

    def __init__(
        self,
        bus: Bus,
        placer: Placer,
        settings: DispatcherSettings,
        name: str,
        work: Work,
        submission: Submission,
        telemetry: Telemetry,
        checks: Checks,
    ) -> None:
        """Take charge of ``work``, whose subject said ``submission``."""
        self._checks = checks
        self.record = TaskRun(bus, submission.key)
        self._telemetry = telemetry
        self._span = telemetry.span(
            SPAN_DISPATCH,
            parent=header(work.headers, TRACEPARENT),
            role="consumer",
            attributes={ATTRIBUTE_TASK: submission.key.task, ATTRIBUTE_CLASS: submission.service_class},
        )
        self.posting = Posting(bus, self.record, name, self._span.traceparent, placer.now_s)
        self.race = Race(bus.edge, placer, self.record, self.posting)
        self.over = asyncio.Event()
        self._bus = bus
        self._placer = placer
        self._settings = settings
        self._work = work
        self.service_class: ServiceClass = submission.service_class
        self._asked = TaskSubmitted(model=gate.UNREADABLE, messages=())
        self.deadline_at_ms = 0
        self._wish: Wish | None = None
        self._stint: Stint | None = None

    @property
    def model(self) -> str:
        """The model that answers, or was asked for where none does yet."""
        return self.record.state.model or self._asked.model

    @property
    def asked(self) -> TaskSubmitted:
        """What was asked for; of what cannot be read, a stand-in."""
        return self._asked

    async def run(
        self,
        asked: TaskSubmitted | TaskError,
        refused: TaskError | None,
        *,
        on_end: Callable[[EndEvent], None] | None = None,
    ) -> None:
        """Live through it, with what was submitted (or what is wrong with it) and what the gate says.

        ``on_end`` hears how it ended, if that was here, before anybody else does.

        Raises:
            BusError: if the bus fails for so long that the task must go to another dispatcher.
        """
        if isinstance(asked, TaskError):
            refused = asked
        else:
            self._asked = asked
            self.deadline_at_ms = gate.deadline_ms(self.record.key.task, asked, default=self._settings.deadline)
        try:
            found = await self._taken_over()
            end = found or await self._live(refused)
            if found is None and on_end is not None:
                on_end(end)
            await ending.close(self._bus, self.record, end)
        except Superseded as error:
            log.info("%s", error)
            self._span.end("superseded")
            self._work.forget()
            return
        finally:
            self.race.close()
        self._work.done()
        self._note_end(closing(end))
        if found is None:
            self._checks.spots.note_end(self.record, replace(self._asked, model=self.model), end)

    def _note_end(self, end: TaskEnded) -> None:
        self._telemetry.add(TASKS_ENDED, 1, {ATTRIBUTE_OUTCOME: end.outcome})
        self._span.note(ATTRIBUTE_MODEL, self.model)
        self._span.note(ATTRIBUTE_OUTCOME, end.outcome)
        self._span.note(ATTRIBUTE_ATTEMPT, self.record.state.attempt)
        self._span.end(None if end.error is None else end.error.code)

    async def has_begun(self) -> bool:
        """Whether any dispatcher has written anything of the task.

        Raises:
            BusError: if the stream cannot be read now.
        """
        if self._work.deliveries == 1:
            return False
        await self.record.read()
        return self.record.state.phase is not Phase.SUBMITTED

    def set_aside(self, pause: timedelta) -> None:
        """Give the task back, to come again later, instead of ``run``."""
        self._span.end("set_aside")
        self._work.hand_back(pause)

    def hand_over(self) -> None:
        """Give the node that has the task its order, once more if need be."""
        self.posting.hand_over(self._asked, self.deadline_at_ms)

    def _ask_second(self, node: str, model: str) -> int:
        return self.posting.ask_second(node, model, self._asked, self.deadline_at_ms)

    # --- the way ---

    async def _taken_over(self) -> EndEvent | None:
        """Read what another dispatcher has done already; a fresh task has no past."""
        if self._work.deliveries == 1:
            return None
        await self.record.read()
        return await ending.stored_end(self._bus, self.record.key)

    async def _live(self, refused: TaskError | None) -> EndEvent:
        if refused is not None and self.record.state.phase is Phase.SUBMITTED:
            return await self._halt_and_fail(refused)
        while True:
            verdict = await self._attempt()
            end = await self._judge(verdict)
            if end is not None:
                return end
            if verdict.kind != "outrun":
                self.record.next_attempt()

    async def _attempt(self) -> Verdict:
        """Have a node work on the task, and wait for what comes of it."""
        state = self.record.state
        if state.phase is Phase.WRITTEN:
            return Verdict(kind="finished")
        if state.phase is Phase.HALTED:
            return Verdict(kind="halted")
        if state.phase is Phase.RUNNING and state.node is not None:
            return await self._adopt(state.node)
        if (error := retrying.exhausted(state.failures, self._settings)) is not None:
            return Verdict(kind="exhausted", error=error)
        placement = self.race.kept() or await self._pause() or await self._place()
        if isinstance(placement, Verdict):
            return placement
        return await self._assign(placement)

    async def _judge(self, verdict: Verdict) -> EndEvent | None:
        """Turn what came of an attempt into the task's end, or None to try again."""
        match verdict.kind:
            case "finished":
                return await self._complete()
            case "failed":
                return await self._retry(_error_of(verdict), verdict.signature)
            case "halted":
                return await self._end_halted()
            case "exhausted":
                return await self._give_up(_error_of(verdict))
            case "cancelled":
                return await self._halt_and_cancel(verdict.reason)
            case "outrun":
                return None
            case "superseded":
                raise Superseded(verdict.reason)
            case "deadline":
                waits = self.record.state.phase in (Phase.SUBMITTED, Phase.WAITING)
                waited_for = "the task waited for a node" if waits else "the answer was being written"
                return await self._halt_and_fail(gate.deadline_error(waited_for=waited_for))

    # --- placing ---

    async def _pause(self) -> Verdict | None:
        """Wait until the next attempt may begin; what ends the task meanwhile wins."""
        wait_s = min((self.record.state.retry_at_ms - now_ms()) / 1000, retrying.LONGEST_PAUSE_S)
        if wait_s <= 0:
            return None
        await asyncio.wait((self.record.verdict,), timeout=wait_s)
        return self.record.verdict.result() if self.record.verdict.done() else None

    async def _place(self) -> Placement | Verdict:
        key, state = self.record.key, self.record.state
        wish = self._placer.wish(key, self._asked, self.service_class, state)
        self._wish = replace(wish, is_suspect=retrying.is_suspect(state.failures, self._settings))
        ticket = Ticket(key, self.service_class, self._wish)
        placement = self._placer.ask(ticket)
        if placement.node is not None:
            return placement
        try:
            position, reason = self._placer.position(ticket), placement.reason
            await self.record.write(lambda n: TaskQueued(n=n, at_ms=now_ms(), position=position, reason=reason))
            return await self._wait_turn(ticket)
        finally:
            self._placer.withdraw(ticket)

    async def _wait_turn(self, ticket: Ticket) -> Placement | Verdict:
        verdict = self.record.verdict
        await asyncio.wait((ticket.granted, verdict), return_when=asyncio.FIRST_COMPLETED)
        if not verdict.done():
            return ticket.granted.result()
        if ticket.granted.done() and (node := (granted := ticket.granted.result()).node) is not None:
            self._placer.release(node, granted.model, self.record.key)
        ticket.granted.cancel()
        return verdict.result()

    async def _assign(self, placement: Placement) -> Verdict:
        node, record = placement.node or "", self.record
        is_trusted = all(self._checks.results.is_trusted(share.node) for share in record.state.shares if share.chars)
        # No engine goes on inside a call.
        on = placement.continues and not record.calls
        seam = retrying.seam(record.state, continues=on, is_trusted=is_trusted, asked=self._asked)
        try:
            hedge, asked = self.race.hedge_of(placement), self._asked.model
            await record.write(
                lambda n: assignment(n, placement, record.state, asked_model=asked, seam=seam, hedge=hedge)
            )
            return await self._watch(node, placement)
        finally:
            self._stint = self._placer.release(node, placement.model, record.key)

    async def _adopt(self, node: str) -> Verdict:
        """Go on with an attempt that a dispatcher before us began."""
        self._placer.occupy(node, self.model, self.record.key)
        try:
            return await self._watch(node)
        finally:
            self._stint = self._placer.release(node, self.model, self.record.key)

    async def _watch(self, node: str, placement: Placement | None = None) -> Verdict:
        self.posting.begin(node, self._placer.process_of(node))
        try:
            self.hand_over()
            self._placer.sent(node, self.model, self.record.key)
            verdict = await self.race.verdict(placement, self._wish, self._ask_second)
            if verdict.kind == "failed" and retrying.says_of_the_node(_error_of(verdict)):
                self._placer.failed(node)
            return verdict
        finally:
            self.posting.end()

    # --- ends ---

    async def _complete(self) -> EndEvent | None:
        record = self.record
        if record.state.node is not None and record.state.phase is Phase.RUNNING:
            await record.read_node(record.state.node)
        end = ending.completed(record.state, self.model)
        if end is None:
            message = "the node said that the answer is whole, but the stream does not hold a whole answer"
            return await self._retry(TaskError(code=INVALID_RESULT, message=message, status=502))
        if (fault := await self._checks.results.fault(record, self._asked)) is not None:
            return await self._reject(fault)
        self._placer.learn(self._stint, end)
        return await self._settle(replace(end, hedge=self.race.hedge))

    async def _reject(self, fault: Fault) -> EndEvent | None:
        """Believe nothing of the attempt, and let another node write the answer from its beginning."""
        log.warning("task %s: a result of %s: %s", self.record.key.task, self.record.state.node, fault.message)
        if fault.is_lie:
            # First, so that it holds also if this dispatcher dies before the attempt is void.
            await self._checks.results.shut_out(self.record, fault)
        return await self._retry(TaskError(code=INVALID_RESULT, message=fault.message, status=502))

    async def _give_up(self, error: TaskError) -> EndEvent:
        """End a task as dead, kept for the operator; but a check of ours is nobody's loss."""
        if self._asked.check_of is not None:
            return await self._halt_and_fail(error)
        return await self._settle(ending.dead(self.record.state, self.model, error))

    async def _retry(self, error: TaskError, signature: ChunkSignature | None = None) -> EndEvent | None:
        """Void the attempt and let another follow, with all the text that this one has stored and is to be trusted."""
        record = self.record
        await record.read()
        if error.status < 500:
            return await self._halt_and_fail(error)
        try:
            await record.write(lambda n: self._requeued(n, error, signature))
        except _Whole:
            return await self._complete()
        log.info("task %s: attempt %d came to nothing: %s", record.key.task, record.state.attempt, error.message)
        self.posting.call_off(error.code)
        return None

    def _requeued(self, n: int, error: TaskError, signature: ChunkSignature | None) -> TaskRequeued:
        state = self.record.state
        if state.phase is Phase.WRITTEN and error.code != INVALID_RESULT:
            # The last thing that the node did was to store the last chunk.
            raise _Whole
        base_s = self._settings.retry_pause.total_seconds()
        pause_s = retrying.pause_s(len(state.failures) + 1, error.code, base_s=base_s, chance=random.random())  # noqa: S311 - jitter, no secret
        return TaskRequeued(
            n=n,
            at_ms=now_ms(),
            attempt=state.attempt,
            node=state.node or "",
            code=error.code,
            message=error.message,
            retry_at_ms=now_ms() + round(pause_s * 1000),
            signature=signature if self._checks.results.is_signed(self.record, signature) else None,
        )

    async def _end_halted(self) -> EndEvent:
        """Settle what a dispatcher before us had begun to settle."""
        state = self.record.state
        if state.error is not None:
            return await self._fail(state.error)
        return await self._settle(ending.cancelled(state, self.model, state.reason or "cancelled"))

    async def _fail(self, error: TaskError) -> EndEvent:
        return await self._settle(ending.failed(self.record.state, self.model, error))

    async def _settle(self, end: EndEvent) -> EndEvent:
        end = metered(end, self._asked, self.record.state, self._placer.tier_of)
        return await ending.settle(self._bus, self.record.key, end)

    async def _halt_and_fail(self, error: TaskError) -> EndEvent:
        await self._halt(error.code, error)
        return await self._fail(error)

    async def _halt_and_cancel(self, reason: str) -> EndEvent:
        await self._halt(reason, None)
        return await self._settle(ending.cancelled(self.record.state, self.model, reason))

    async def _halt(self, reason: str, error: TaskError | None) -> None:
        """Let nothing follow but the end, so that what counts of the answer cannot change while it is settled.

        A task that waits is halted too: a dispatcher that hung, and holds it no more, would settle it with less text
        than the nodes of its heir have written by then. The fence of the marker finds that out.
        """
        record = self.record
        if record.state.phase is not Phase.HALTED:
            self.posting.call_off(reason)
            await record.write(lambda n: TaskHalted(n=n, at_ms=now_ms(), reason=reason, error=error))


class _Whole(GatewayError):
    """The answer is whole after all: there is nothing to try again."""


def _error_of(verdict: Verdict) -> TaskError:
    return verdict.error or TaskError(code="task_failed", message=verdict.reason, status=502)
