"""Whether an engine still works: watched by how its answers end, asked by one small request when they end badly.

Failed answers alone prove nothing: a request that no engine survives must not take down one node after the other.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from nodes.embedding import Embed, EmbeddingEngine
from nodes.engine import Generate
from nodes.errors import EngineAway, EngineBusy, EngineError
from streams.messages import Finished, Refused
from streams.tasks.chat import Message, Sampling

if TYPE_CHECKING:
    from collections.abc import Callable

    from nodes.attempts.attempt import Report
    from nodes.embedding import AnyEngine

log = logging.getLogger(__name__)

FAILURES: Final = 3
"""So many failed answers in a row make an engine suspect."""

STUCK_S: Final = 10.0
"""An engine that has not let go of a cancelled answer by then is suspect at once."""

_CHECK_S: Final = 60.0
_QUESTION: Final = Generate(
    messages=(Message(role="user", content="Say yes."),), sampling=Sampling(max_tokens=1, temperature=0)
)
_TEXT: Final = Embed(texts=("Say yes.",))


class EngineHealth:
    """Watches one engine."""

    def __init__(self, engine: AnyEngine, on_broken: Callable[[str], None], *, check_s: float = _CHECK_S) -> None:
        """Call ``on_broken``, once, with the reason, when the engine cannot even answer a small question.

        ``check_s`` is how long that may take; the question waits for a slot like every other.
        """
        self._engine = engine
        self._on_broken = on_broken
        self._check_s = check_s
        self._failures = 0
        self._checking: asyncio.Task[None] | None = None
        self._asking: asyncio.Task[None] | None = None
        self._is_broken = False

    @property
    def is_suspect(self) -> bool:
        """Whether it should get no work: it is being checked, or was found broken."""
        return self._is_broken or self._checking is not None

    def note(self, report: Report | None) -> None:
        """Take in how an answer ended."""
        if isinstance(report, Finished):
            self._failures = 0
        elif isinstance(report, Refused) and report.code == "engine_error":
            self._failures += 1
            if self._failures >= FAILURES:
                self.suspect(f"{self._failures} answers failed one after the other, the last because {report.message}")

    def suspect(self, reason: str) -> None:
        """Find out whether it still answers."""
        if not self.is_suspect:
            log.warning("the engine is checked: %s", reason)
            self._checking = asyncio.create_task(self._check(reason), name="engine-check")

    async def _check(self, reason: str) -> None:
        asking = asyncio.create_task(ask_small_question(self._engine), name="engine-question")
        self._asking = asking
        # Not awaited beyond its time: what hangs in C++ cannot be cancelled.
        await asyncio.wait((asking,), timeout=self._check_s)
        self._failures, self._checking = 0, None
        failure = _failure_of(asking)
        if failure is None:
            log.info("the engine still answers: the requests must have been at fault")
            return
        if asking.done() and isinstance(asking.exception(), EngineAway | EngineBusy):
            log.warning("the engine is not broken, but what it asks outside of this process: %s", failure)
            return
        asking.cancel()
        self._is_broken = True
        self._on_broken(f"the engine is broken: {reason}; and asked a small question, {failure}")


async def ask_small_question(engine: AnyEngine) -> None:
    """Have an engine generate one token, or turn two words into a vector.

    Raises:
        EngineError: it cannot.
    """
    if isinstance(engine, EmbeddingEngine):
        await engine.embed(_TEXT)
        return
    async with aclosing(engine.generate(_QUESTION)) as pieces:
        async for piece in pieces:
            if piece.finish_reason is not None:
                return
    raise EngineError("it ended an answer without a finish reason")


def _failure_of(asking: asyncio.Task[None]) -> str | None:
    if not asking.done():
        return "it says nothing"
    error = asking.exception()
    return None if error is None else f"it fails: {error}"
