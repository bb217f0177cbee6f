"""A task whose answer several clients wait for, as one gateway knows it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from streams.tokens import Token

if TYPE_CHECKING:
    from gateway.cache.key import Slot
    from gateway.cache.store import Stored
    from streams.cache.messages import CacheClaim


class Flight:
    """One task, from the claim to its end, or to the last client here that leaves."""

    def __init__(self, slot: Slot, claim: CacheClaim, standing: Stored, *, is_ours: bool) -> None:
        """Know what stands in the slot; ``is_ours`` says that this gateway has put it there."""
        self.slot = slot
        self.claim = claim
        self.standing = standing
        self.is_ours = is_ours
        self.readers = 0
        """Clients of this gateway that wait for the answer."""
        self.is_submitted = False
        """Whether the task is known to be stored."""
        self.is_kept = False
        """Whether its answer is in the cache, or on its way there."""
        self._is_begun = asyncio.Event()

    @property
    def task(self) -> Token:
        """Which task."""
        return Token(self.claim.task)

    def begun(self, *, is_submitted: bool) -> None:
        """The first client here has tried to have the task stored."""
        self.is_submitted = self.is_submitted or is_submitted
        self._is_begun.set()

    async def until_begun(self) -> None:
        """Wait until the first client here has tried."""
        await self._is_begun.wait()
