"""One running attempt: the engine's pieces become chunks on the task's stream.

Two tasks work hand in hand: one runs the engine and fills the outbox, the other empties it, one append at a time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Final

from mesh.errors import BusUnavailable
from mesh.telemetry.names import ATTRIBUTE_TOKENS
from nodes.attempts.chunk_writer import ChunkWriter, Grant, Verdict
from nodes.attempts.continuation import joined
from nodes.attempts.outbox import Outbox
from nodes.attempts.vector_work import VectorWork
from nodes.embedding import EmbeddingEngine
from nodes.errors import (
    CannotContinue,
    EngineAway,
    EngineBusy,
    EngineError,
    EngineUnavailable,
    NodeError,
    NodeStopping,
    RequestRefused,
)
from streams.messages import Finished, Refused
from streams.tasks.answer_parts import chars_in

if TYPE_CHECKING:
    from mesh.bus.link import Link
    from mesh.telemetry.telemetry import Span
    from nodes.attempts.chunk_writer import Sign
    from nodes.engine import Engine
    from nodes.models.loaded import Served
    from streams.messages import Assign
    from streams.subjects import TaskKey
    from streams.tokens import Token

log = logging.getLogger(__name__)

_LATE_S: Final = 2.0
"""The dispatcher ends a task at its deadline; a node that hears nothing stops by itself this much later."""

Report = Finished | Refused
"""What a node tells the dispatcher when an attempt is over; nothing, if the dispatcher ended it."""


class Attempt:
    """One attempt at one task on this node. Cancel its ``run`` to stop it: nothing more is generated or written."""

    def __init__(
        self,
        *,
        link: Link,
        node: Token,
        served: Served,
        assign: Assign,
        key: TaskKey,
        subject: str,
        span: Span,
        sign: Sign | None = None,
    ) -> None:
        """Prepare to run ``assign``, whose reply subject was ``subject``; ``span`` is ended with the run."""
        self._span = span
        engine = served.engine
        self._assign = assign
        self._key = key
        self._dispatcher = assign.dispatcher
        if isinstance(engine, EmbeddingEngine):
            work = VectorWork(assign, engine, served.replica.dimensions)
            self._outbox, self._pump = work.outbox, partial(self._embed, work)
        else:
            self._outbox, self._pump = Outbox(), partial(self._answer, engine)
        self._generating: asyncio.Task[None] | None = None
        self._writer = ChunkWriter(link, node, self._grant(assign, subject), sign)
        self.tokens = 0
        """Completion tokens generated so far, those included that are written anew and published no more; of texts
        that become vectors, theirs."""

    @property
    def key(self) -> TaskKey:
        """Which task this is, and whose."""
        return self._key

    @property
    def number(self) -> int:
        """Which attempt at the task this is, from 1."""
        return self._assign.attempt

    @property
    def model(self) -> str:
        """The model that was asked for."""
        return self._assign.model

    @property
    def is_hidden(self) -> bool:
        """Whether another node has the task, and this one has words ready in case that one has none (ADR 18)."""
        return self._writer.is_hidden

    def fits(self, assign: Assign) -> bool:
        """Whether what is being written is what ``assign`` asks for: it goes on from the same text, if from any."""
        own = self._assign
        is_same_text = (own.prefix, own.prefix_calls, own.first) == (assign.prefix, assign.prefix_calls, assign.first)
        return is_same_text and (own.model, own.seam) == (assign.model, assign.seam)

    def renew(self, assign: Assign, subject: str) -> None:
        """Take the same assignment once more: a fresh grant, maybe from another dispatcher."""
        self._dispatcher = assign.dispatcher
        self._writer.renew(self._grant(assign, subject))

    def hand_over(self) -> None:
        """Generate no more; ``run`` stores what there is and gives the rest back to the dispatcher."""
        self._outbox.fail(NodeStopping("the node was shut down before the end"))
        if self._generating is not None:
            self._generating.cancel()

    async def run(self) -> Report | None:
        """Generate and write until the last chunk is stored; None where the dispatcher has ended the attempt itself."""
        report: Report | None = None
        try:
            report = await self._run()
        finally:
            self._span.note(ATTRIBUTE_TOKENS, self.tokens)
            self._span.end(None if isinstance(report, Finished) else self._why(report))
        return report

    @staticmethod
    def _why(report: Refused | None) -> str:
        return "stopped" if report is None else report.code

    async def _run(self) -> Report | None:
        try:
            async with asyncio.timeout(self._time_left_s()):
                return await self._generate_and_write()
        except TimeoutError:
            return self.refused("deadline_exceeded", "the deadline passed while the answer was being written", 408)
        except NodeError as error:
            return self._refused_for(error)
        except BusUnavailable as error:
            log.warning("task %s: attempt %d given up: %s", self.key.task, self.number, error)
            return None
        except Exception:
            log.exception("task %s: attempt %d failed", self.key.task, self.number)
            return self.refused("internal_error", "the node failed while writing the answer", 500)

    def refused(self, code: str, message: str, status: int) -> Refused:
        """Say that this node will not go on with the attempt, and sign for what it has stored of it."""
        return Refused(
            task=self.key.task,
            attempt=self.number,
            dispatcher=self._dispatcher,
            code=code,
            message=message,
            status=status,
            account=self.key.account,
            signature=self._writer.signature(),
        )

    async def _generate_and_write(self) -> Report | None:
        self._generating = generating = asyncio.create_task(self._generate(), name=f"generate-{self.key.task}")
        try:
            return await self._write()
        finally:
            if not generating.done():
                # A second cancel would not let the engine finish closing the answer.
                if not generating.cancelling():
                    generating.cancel()
                await asyncio.wait((generating,))

    async def _generate(self) -> None:
        """Fill the outbox. Never raises: what goes wrong here is told to the writing side."""
        try:
            await self._pump()
        except NodeError as error:
            self._outbox.fail(error)
        except Exception as error:
            log.exception("task %s: the engine failed", self.key.task)
            self._outbox.fail(EngineError(f"the engine failed: {type(error).__name__}: {error}"))

    async def _embed(self, work: VectorWork) -> None:
        async with aclosing(work.run()) as steps:
            async for tokens in steps:
                self.tokens += tokens

    async def _answer(self, engine: Engine) -> None:
        outbox, answer = self._outbox, joined(self._assign, engine)
        async with aclosing(engine.generate(answer.request)) as pieces:
            async for own in pieces:
                self.tokens += own.tokens
                piece = answer.fit(own)
                if piece is None:
                    continue
                outbox.put(piece)
                if piece.finish_reason is not None:
                    return
                if outbox.is_full:
                    await outbox.room()
        raise EngineError("the engine ended the answer without a finish reason")

    async def _write(self) -> Report | None:
        while True:
            batch = await self._outbox.take()
            verdict = await self._writer.write(batch)
            if verdict is Verdict.VOID:
                return None
            if verdict is Verdict.LOST:
                return self.refused("stream_refused", "the results stream does not take this attempt's chunks", 503)
            if batch.finish_reason is not None:
                return self._finished()

    def _finished(self) -> Finished:
        return Finished(
            task=self.key.task,
            attempt=self.number,
            dispatcher=self._dispatcher,
            sequence=self._writer.last_sequence,
            account=self.key.account,
        )

    def _refused_for(self, error: NodeError) -> Refused:
        if isinstance(error, EngineError) and not isinstance(error, RequestRefused):
            log.warning("task %s: attempt %d failed: %s", self.key.task, self.number, error)
        match error:
            case RequestRefused():
                return self.refused(error.code, str(error), 400)
            case CannotContinue():
                return self.refused("cannot_continue", str(error), 503)
            case NodeStopping():
                return self.refused("node_stopping", str(error), 503)
            case EngineBusy():
                return self.refused("node_busy", str(error), 503)
            case EngineAway():
                return self.refused("engine_away", str(error), 503)
            case EngineUnavailable():
                return self.refused("engine_error", str(error), 503)
            case _:
                return self.refused("engine_error", str(error), 500)

    def _grant(self, assign: Assign, subject: str) -> Grant:
        return Grant(
            key=self._key,
            attempt=assign.attempt,
            subject=subject,
            next_n=assign.next_n,
            last_sequence=assign.last_sequence,
            chars=chars_in(assign.prefix, assign.prefix_calls) + assign.first,
        )

    def _time_left_s(self) -> float | None:
        deadline_at_ms = self._assign.deadline_at_ms
        return None if deadline_at_ms is None else deadline_at_ms / 1000 - time.time() + _LATE_S
