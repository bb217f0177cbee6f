"""An engine without a model, for benchmarks and fault tests: the same request always gives the same text.

It is never a default.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from itertools import count
from typing import TYPE_CHECKING, Final

from nodes.engine import EngineLoad, Generate, Loading, Piece
from nodes.engines.demands import announced, check_demands, is_constrained
from nodes.engines.synthetic.answer import SyntheticAnswer
from nodes.errors import EngineUnavailable
from streams.devices.replica import Replica

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from nodes.engine import EngineSpec, OnLoading
    from streams.devices.replica import Ability

MODEL_ID: Final = "synthetic"
_SLOTS: Final = 256
_BREATH: Final = 8
"""Without a delay the event loop gets a turn after this many tokens."""
_LETHAL: Final = 3
"""How many tokens a poisoned question gets out of an engine before it kills that."""

_ABILITIES: Final[tuple[Ability, ...]] = ("tools", "schema", "vision", "logprobs", "logit_bias", "raw_prompt")
"""It sees a picture as it reads a text: another one gives another answer."""


class SyntheticEngine:
    """Answers with one word per token. Where in the cycle of words it begins depends on the messages alone.

    It calls the function that it must call; where it is free to (``auto``), each whose name the last message has.
    """

    def __init__(self, spec: EngineSpec, on_loading: OnLoading) -> None:
        self._spec = spec
        self._on_loading = on_loading
        self._delay_s = spec.token_delay_ms / 1000
        self._continues = spec.synthetic == "continues"
        self._abilities = announced(_ABILITIES, spec)
        # Two engines, or one started again, are unlikely to number alike; within one no number comes twice.
        self._numbers = count(secrets.randbits(32))
        self._running = 0
        self._started = False

    async def start(self) -> Replica:
        """Say what it is; there is nothing to load and its speed is chosen, not measured."""
        self._started = True
        self._on_loading(Loading(stage="ready", fraction=1.0))
        return Replica(
            model=self._spec.model_id or MODEL_ID,
            engine="synthetic",
            context_tokens=self._spec.context_tokens,
            slots=self._spec.slots or _SLOTS,
            tokens_per_s=1 / self._delay_s if self._delay_s else None,
            continues=self._continues,
            abilities=self._abilities,
        )

    async def generate(self, request: Generate) -> AsyncGenerator[Piece, None]:
        """Stream exactly ``max_tokens`` words, one a piece, each at its own time from the start.

        A prefix is continued at the word where it ends, also when it was cut inside a word. The context bounds the
        prompt only, so that any length of answer can be asked for.
        """
        self._check_started()
        check_demands(request, self._abilities)
        answer = SyntheticAnswer(request, self._spec.context_tokens, mark=self._mark())
        poison = self._spec.poison
        said = (request.prompt, *(message.content for message in request.messages))
        is_poisoned = poison is not None and any(poison in text for text in said)
        clock = asyncio.get_running_loop().time
        start = clock()
        self._running += 1
        try:
            while not answer.finished:
                if self._delay_s:
                    await asyncio.sleep(max(0.0, start + (answer.tokens + 1) * self._delay_s - clock()))
                elif answer.tokens % _BREATH == 0:
                    await asyncio.sleep(0)
                self._check_started()
                if piece := answer.step():
                    yield piece
                if is_poisoned and answer.tokens >= _LETHAL:
                    os.kill(os.getpid(), signal.SIGKILL)
        finally:
            self._running -= 1

    def can_continue(self, request: Generate) -> bool:
        """Say what the settings say; calls and JSON it writes from their beginning only."""
        return self._continues and not is_constrained(request)

    def load(self) -> EngineLoad:
        """Count the answers in progress; none ever waits."""
        return EngineLoad(running=self._running, waiting=0)

    async def stop(self) -> None:
        """End every answer at its next word."""
        self._started = False

    def _mark(self) -> str:
        """What the next answer begins with: nothing, or where answers are to vary a number of its own."""
        return f"{next(self._numbers)}-" if self._spec.synthetic == "varies" else ""

    def _check_started(self) -> None:
        if not self._started:
            raise EngineUnavailable("the engine was stopped or not started yet")
