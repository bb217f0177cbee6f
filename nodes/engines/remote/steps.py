"""Waiting that ends when an engine is stopped."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from nodes.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


class Steps:
    """Everything that one engine waits for at this moment."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Task[Any]] = set()

    async def wait_for(self, work: Coroutine[Any, Any, T], limit_s: float | None = None) -> T:
        """Do ``work``, for ``limit_s`` at most.

        Raises:
            EngineUnavailable: the engine was stopped meanwhile.
            TimeoutError: it took too long.
        """
        step = asyncio.create_task(work)
        self._waiting.add(step)
        try:
            async with asyncio.timeout(limit_s):
                return await step
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is None or current.cancelling():
                raise
            raise EngineUnavailable("the engine was stopped") from None
        finally:
            self._waiting.discard(step)

    def stop(self) -> None:
        """End all waiting."""
        for step in tuple(self._waiting):
            step.cancel()
