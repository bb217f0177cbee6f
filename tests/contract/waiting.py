"""Waiting for a state that has no event of its own; the test's own time-out ends it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


async def eventually(condition: Callable[[], bool]) -> None:
    """Return as soon as ``condition()`` holds."""
    while not condition():  # noqa: ASYNC110  there is no event to wait for
        await asyncio.sleep(0.01)
