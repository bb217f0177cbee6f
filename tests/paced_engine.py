"""A synthetic engine whose answers the test holds in the middle: what is written meanwhile depends on no clock."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from nodes.engine import EngineSpec, Generate, Piece
from nodes.engines.synthetic.engine import SyntheticEngine


class Pace:
    """How far answers get. At first they go to their ends."""

    def __init__(self) -> None:
        self._after: int | None = None
        self._go = asyncio.Event()

    def hold(self, after: int) -> None:
        """Have each answer stand still behind so many pieces."""
        self._after = after
        self._go.clear()

    def let_go(self) -> None:
        """Have all go on to their ends, and those that are yet to come."""
        self._after = None
        self._go.set()

    async def passed(self, pieces: int) -> None:
        """Return when an answer of so many pieces may go on."""
        if self._after is not None and pieces >= self._after:
            await self._go.wait()


class PacedEngine(SyntheticEngine):
    """Keeps to a pace."""

    def __init__(self, spec: EngineSpec, pace: Pace) -> None:
        super().__init__(spec, lambda _: None)
        self._pace = pace

    async def generate(self, request: Generate) -> AsyncGenerator[Piece, None]:
        async with aclosing(super().generate(request)) as pieces:
            passed = 0
            async for piece in pieces:
                yield piece
                passed += 1
                await self._pace.passed(passed)
