"""An engine for vectors whose every number can be told beforehand: real behind its interface, and as fast as wanted."""

import asyncio
import hashlib
import math
import struct

from nodes.embedding import Embed, Embedded
from nodes.engine import EngineLoad
from nodes.errors import RequestRefused
from streams.devices.replica import Replica
from streams.tasks.chat import Usage

MODEL = "numbers"
DIMENSIONS = 8
LONGEST = 1000
"""Characters of a text."""


def vector_of(text: str, dimensions: int = DIMENSIONS) -> bytes:
    """What the engine makes of a text: of length 1, and another for each text."""
    numbers = [byte - 127.5 for byte in hashlib.sha512(text.encode()).digest()[:dimensions]]
    length = math.hypot(*numbers)
    return struct.pack(f"<{dimensions}f", *(number / length for number in numbers))


class NumberEngine:
    """Waits ``pause_s`` before each request; ``spoil`` changes what it gives."""

    def __init__(self, *, slots: int = 4, pause_s: float = 0.0, shortens: bool = False) -> None:
        self.slots = slots
        self.pause_s = pause_s
        self.shortens = shortens
        self.embedded: list[tuple[str, ...]] = []
        """The texts of each request, in order."""
        self.stop_after: int | None = None
        """After so many requests it waits for ``go``."""
        self.go = asyncio.Event()

    async def start(self) -> Replica:
        return Replica(
            model=MODEL,
            engine="numbers",
            kind="embedding",
            dimensions=DIMENSIONS,
            shortens=self.shortens,
            context_tokens=LONGEST,
            slots=self.slots,
            continues=False,
        )

    async def embed(self, request: Embed) -> Embedded:
        if self.stop_after is not None and len(self.embedded) >= self.stop_after:
            await self.go.wait()
        await asyncio.sleep(self.pause_s)
        for number, text in enumerate(request.texts):
            if len(text) > LONGEST:
                raise RequestRefused("context_length_exceeded", f"text {number} has {len(text)} tokens")
        self.embedded.append(request.texts)
        return Embedded(vectors=self.vectors(request.texts), usage=self.usage(request.texts))

    def vectors(self, texts: tuple[str, ...]) -> tuple[bytes, ...]:
        return tuple(vector_of(text) for text in texts)

    def usage(self, texts: tuple[str, ...]) -> Usage:
        return Usage(prompt_tokens=sum(map(len, texts)), completion_tokens=0)

    def load(self) -> EngineLoad:
        return EngineLoad(running=0, waiting=0)

    async def stop(self) -> None:
        """Nothing is held."""
