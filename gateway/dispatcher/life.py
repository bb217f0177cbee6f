"""The life of one task in the hands of one dispatcher, from the queue to its end (DESIGN, "Life of a task")."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from gateway.dispatcher import ending, gate
from gateway.dispatcher.placer import Ticket
from gateway.dispatcher.scheduler import POLICY, Wish
from gateway.dispatcher.task_run import Superseded, TaskRun, Verdict
from mesh.bus.headers import TRACEPARENT, header, header_block
from mesh.telemetry.names import (
    ATTRIBUTE_ATTEMPT,
    ATTRIBUTE_CLASS,
    ATTRIBUTE_MODEL,
    ATTRIBUTE_OUTCOME,
    ATTRIBUTE_TASK,
    SPAN_DISPATCH,
    TASKS_ENDED,
)
from streams import subjects
from streams.clock import now_ms
from streams.codec import encode
from streams.events import TaskAssigned, TaskError, TaskHalted, TaskQueued, TaskSubmitted
from streams.messages import Assign, Stop
from streams.task import Phase, closing
from streams.tokens import Token

if TYPE_CHECKING:
    from gateway.dispatcher.placer import Placer
    from gateway.dispatcher.scheduler import Placement
    from gateway.dispatcher.settings import DispatcherSettings
    from mesh.bus.service_bus import Bus
    from mesh.bus.work import Work
    from mesh.telemetry.telemetry import Telemetry
    from streams.events import EndEvent, TaskEnded
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
    ) -> None:
        """Take charge of ``work``, whose subject said ``submission``."""
        self.record = TaskRun(bus, submission.key)
        self.node: str | None = None
        self.assigned_at_s = 0.0
        self.orders_repeated = 0
        self._telemetry = telemetry
        self._span = telemetry.span(
            SPAN_DISPATCH,
            parent=header(work.headers, TRACEPARENT),
            role="consumer",
            attributes={ATTRIBUTE_TASK: submission.key.task, ATTRIBUTE_CLASS: submission.service_class},
        )
        self.over = asyncio.Event()
        self._bus = bus
        self._placer = placer
        self._settings = settings
        self._name = name
        self._work = work
        self.service_class: ServiceClass = submission.service_class
        self._refusers: set[str] = set()
        self._asked = TaskSubmitted(model=gate.UNREADABLE, messages=())
        self.deadline_at_ms = 0

    @property
    def model(self) -> str:
        """The model that was asked for."""
        return self._asked.model

    async def run(self, asked: TaskSubmitted | TaskError, refused: TaskError | None) -> None:
        """Live through it, with what was submitted (or what is wrong with it) and what the gate says.

        Raises:
            BusError: if the bus fails for so long that the task must go to another dispatcher.
        """
        if isinstance(asked, TaskError):
            refused = asked
        else:
            self._asked = asked
            self.deadline_at_ms = gate.deadline_ms(self.record.key.task, asked, default=self._settings.deadline)
        try:
            end = await self._taken_over() or await self._live(refused)
            await ending.close(self.record, end)
        except Superseded as error:
            log.info("%s", error)
            self._span.end("superseded")
            self._work.forget()
            return
        self._work.done()
        self._note_end(closing(end))

    def _note_end(self, end: TaskEnded) -> None:
        self._telemetry.add(TASKS_ENDED, 1, {ATTRIBUTE_OUTCOME: end.outcome})
        self._span.note(ATTRIBUTE_MODEL, self._asked.model)
        self._span.note(ATTRIBUTE_OUTCOME, end.outcome)
        self._span.note(ATTRIBUTE_ATTEMPT, self.record.state.attempt)
        self._span.end(None if end.error is None else end.error.code)

    # --- the way ---

    async def _taken_over(self) -> EndEvent | None:
        """Read what another dispatcher has done already; a fresh task has no past."""
        if self._work.deliveries == 1:
            return None
        await self.record.read()
        return await ending.stored_end(self._bus, self.record.key)

    async def _live(self, refused: TaskError | None) -> EndEvent:
        if refused is not None:
            return await self._fail(refused)
        while True:
            verdict = await self._attempt()
            end = await self._judge(verdict)
            if end is not None:
                return end
            self.record.next_attempt()

    async def _attempt(self) -> Verdict:
        """Have a node work on the task, and wait for what comes of it."""
        state = self.record.state
        if state.phase is Phase.WRITTEN:
            return Verdict(kind="finished")
        if state.phase is Phase.HALTED:
            return Verdict(kind="lost", reason=state.reason or "halted")
        if state.phase is Phase.RUNNING and state.node is not None and not self._refusers:
            return await self._adopt(state.node)
        placement = await self._place()
        if isinstance(placement, Verdict):
            return placement
        return await self._assign(placement)

    async def _judge(self, verdict: Verdict) -> EndEvent | None:
        """Turn what came of an attempt into the task's end, or None to try again."""
        match verdict.kind:
            case "finished":
                return await self._complete()
            case "refused":
                return await self._refuse(verdict)
            case "cancelled":
                return await self._halt_and_cancel(verdict.reason)
            case "deadline":
                waited_for = "the answer was being written" if self.node else "the task waited for a node"
                return await self._halt_and_fail(gate.deadline_error(waited_for=waited_for))
            case "lost":
                message = f"The node that was writing the answer is gone: {verdict.reason}."
                return await self._halt_and_fail(TaskError(code="node_lost", message=message, status=502))

    # --- placing ---

    async def _place(self) -> Placement | Verdict:
        key = self.record.key
        wish = Wish(model=self._asked.model, avoid=frozenset(self._refusers))
        ticket = Ticket(key.account, key.task, self.service_class, wish)
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
        if ticket.granted.done() and (node := ticket.granted.result().node) is not None:
            self._placer.release(node, self._asked.model, self.record.key.task)
        ticket.granted.cancel()
        return verdict.result()

    async def _assign(self, placement: Placement) -> Verdict:
        node = placement.node or ""
        state = self.record.state
        try:
            await self.record.write(
                lambda n: TaskAssigned(
                    n=n,
                    at_ms=now_ms(),
                    attempt=state.attempt + 1,
                    node=node,
                    policy=POLICY,
                    candidates=placement.candidates,
                    offset=self.record.state.chars,
                )
            )
            return await self._watch(node)
        finally:
            self._placer.release(node, self._asked.model, self.record.key.task)

    async def _adopt(self, node: str) -> Verdict:
        """Go on with an attempt that a dispatcher before us began."""
        self._placer.occupy(node, self._asked.model, self.record.key.task)
        try:
            return await self._watch(node)
        finally:
            self._placer.release(node, self._asked.model, self.record.key.task)

    async def _watch(self, node: str) -> Verdict:
        self.node = node
        try:
            self.hand_over()
            return await self.record.verdict
        finally:
            self.node = None

    def hand_over(self) -> None:
        """Give the node the task, or the right to write it once more: it knows an attempt that it has already."""
        if self.node is None:
            return
        self.assigned_at_s = asyncio.get_running_loop().time()
        record, node = self.record, Token(self.node)
        order = Assign(
            account=record.key.account,
            task=record.key.task,
            attempt=record.state.attempt,
            next_n=record.state.n + 1,
            last_sequence=record.sequence,
            model=self._asked.model,
            messages=self._asked.messages,
            sampling=self._asked.sampling,
            dispatcher=self._name,
            prefix="".join(record.text),
            prefix_tokens=record.state.tokens,
            deadline_at_ms=self.deadline_at_ms,
        )
        trace = self._span.traceparent
        self._bus.edge.send(
            subjects.node_inbox(node, "assign"),
            encode(order),
            reply=subjects.result(record.key, node),
            headers=header_block((TRACEPARENT, trace)) if trace else b"",
        )

    # --- ends ---

    async def _complete(self) -> EndEvent | None:
        record = self.record
        if record.state.node is not None and record.state.phase is Phase.RUNNING:
            await record.read_node(record.state.node)
        end = ending.completed(record.state, self._asked.model)
        if end is not None:
            return await ending.settle(self._bus, record.key, end)
        message = "The node said that the answer is whole, but the stream does not hold a whole answer."
        return await self._halt_and_fail(TaskError(code="invalid_result", message=message, status=502))

    async def _refuse(self, verdict: Verdict) -> EndEvent | None:
        error = verdict.error or TaskError(code="node_refused", message=verdict.reason, status=503)
        await self.record.read()
        if error.status < 500 or self.record.state.attempt >= self._settings.max_attempts:
            return await self._halt_and_fail(error)
        if self.record.state.node is not None:
            self._refusers.add(self.record.state.node)
        return None

    async def _fail(self, error: TaskError) -> EndEvent:
        end = ending.failed(self.record.state, self._asked.model, error)
        return await ending.settle(self._bus, self.record.key, end)

    async def _halt_and_fail(self, error: TaskError) -> EndEvent:
        await self._halt(error.code)
        return await self._fail(error)

    async def _halt_and_cancel(self, reason: str) -> EndEvent:
        await self._halt(reason)
        end = ending.cancelled(self.record.state, self._asked.model, reason)
        return await ending.settle(self._bus, self.record.key, end)

    async def _halt(self, reason: str) -> None:
        """Void the attempt, so that what counts of the answer cannot change while it is settled."""
        record = self.record
        if record.state.phase is Phase.RUNNING and record.state.node is not None:
            stop = Stop(task=record.key.task, attempt=record.state.attempt, reason=reason)
            self._bus.edge.send(subjects.node_inbox(Token(record.state.node), "stop"), encode(stop))
            await record.write(lambda n: TaskHalted(n=n, at_ms=now_ms(), reason=reason))
