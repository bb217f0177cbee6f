"""What is measured of each chat request: a span of its trace, and OpenTelemetry's GenAI metrics."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Final

from mesh.bus.headers import TRACEPARENT
from mesh.telemetry.names import (
    ATTRIBUTE_COUNTED,
    ATTRIBUTE_MODEL,
    ATTRIBUTE_OPERATION,
    ATTRIBUTE_OUTCOME,
    ATTRIBUTE_TASK,
    OPEN_STREAMS,
    REQUEST_DURATION,
    SPAN_REQUEST,
    TIME_PER_OUTPUT_TOKEN,
    TIME_TO_FIRST_TOKEN,
    TOKEN_USAGE,
)

if TYPE_CHECKING:
    from mesh.telemetry.telemetry import Telemetry
    from streams.tasks.chat import Usage
    from streams.tasks.task import TaskState

_TELL_S: Final = 1.0
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class OpenAnswers:
    """How many answers are being read; told to the metrics about once a second, since each telling costs 6 us."""

    def __init__(self, telemetry: Telemetry) -> None:
        """Start at none."""
        self.telemetry = telemetry
        self._untold = 0
        self._timer: asyncio.TimerHandle | None = None

    def change(self, by: int) -> None:
        """Count up or down."""
        self._untold += by
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_TELL_S, self.tell)

    def tell(self) -> None:
        """Tell now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._untold:
            self.telemetry.add(OPEN_STREAMS, self._untold)
            self._untold = 0


class Measure:
    """One request's clock. Times are on ``time.monotonic``."""

    def __init__(self, open_answers: OpenAnswers, given: str | None, *, task: str, model: str) -> None:
        """Start the clock; the client's ``traceparent``, if one was given, is continued."""
        telemetry = open_answers.telemetry
        self._telemetry = telemetry
        self._open = open_answers
        self._about = {ATTRIBUTE_OPERATION: SPAN_REQUEST, ATTRIBUTE_MODEL: model}
        self._span = telemetry.span(
            SPAN_REQUEST,
            parent=given if given is not None and _TRACEPARENT.fullmatch(given) else None,
            role="server",
            attributes={**self._about, ATTRIBUTE_TASK: task},
        )
        self._started_s = time.monotonic()
        self._first_token_s: float | None = None
        self._open.change(1)

    @property
    def bus_headers(self) -> tuple[tuple[str, str], ...]:
        """What the task carries along, so that whoever serves it continues the trace."""
        traceparent = self._span.traceparent
        return () if traceparent is None else ((TRACEPARENT, traceparent),)

    def first_token(self) -> None:
        """Note that the client of a stream has got text; only the first call counts."""
        if self._first_token_s is None:
            self._first_token_s = time.monotonic()

    def end(self, state: TaskState, *, failed: bool = False) -> None:
        """Stop the clock: ``state`` is what the client saw of the task, ``failed`` that it got an error instead."""
        telemetry, now_s = self._telemetry, time.monotonic()
        self._open.change(-1)
        outcome = state.outcome or ("unavailable" if failed else "left")
        telemetry.record(REQUEST_DURATION, now_s - self._started_s, {**self._about, ATTRIBUTE_OUTCOME: outcome})
        if self._first_token_s is not None:
            telemetry.record(TIME_TO_FIRST_TOKEN, self._first_token_s - self._started_s, self._about)
        if state.usage is not None:
            self._record_usage(state.usage, now_s)
        self._span.note(ATTRIBUTE_OUTCOME, outcome)
        self._span.end(None if outcome == "completed" else outcome)

    def _record_usage(self, usage: Usage, now_s: float) -> None:
        record = self._telemetry.record
        record(TOKEN_USAGE, usage.prompt_tokens, {**self._about, ATTRIBUTE_COUNTED: "input"})
        record(TOKEN_USAGE, usage.completion_tokens, {**self._about, ATTRIBUTE_COUNTED: "output"})
        if self._first_token_s is not None and usage.completion_tokens > 1:
            per_token_s = (now_s - self._first_token_s) / (usage.completion_tokens - 1)
            record(TIME_PER_OUTPUT_TOKEN, per_token_s, self._about)
