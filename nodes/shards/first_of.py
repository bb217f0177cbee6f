"""Waiting for whichever of several ends comes first."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable

_T = TypeVar("_T")


async def first_of(*ends: Awaitable[_T]) -> _T:
    """Return the result of the first that is done, and wait for the others no more."""
    waiting = [asyncio.ensure_future(end) for end in ends]
    try:
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        return next(each for each in waiting if each in done).result()
    finally:
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
