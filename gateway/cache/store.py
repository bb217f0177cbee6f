"""Where gateways keep answers, so that all of them give the same; and the little patience that requests have with it.

A store can do two things: read what stands in a slot, and put something else there if it still does. One that does not
answer is left alone: nobody waits for it a second time, until it was seen to answer again.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeVar

from gateway.cache.key import Slot
from gateway.errors import GatewayError
from streams.cache.subjects import SHARED
from streams.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from datetime import timedelta
    from typing import Any

log = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_EVERY_S: Final = 1.0
"""How often a store that is away is looked at."""

UNHURRIED_S: Final = 5.0
"""How long a write may take that no client waits for."""

_NOBODYS: Final = Slot(SHARED, Token("0"))


class CacheAway(GatewayError):
    """The store of answers cannot be asked now."""


class Stored(NamedTuple):
    """What stands in a slot, with the mark by which the store knows it again."""

    data: bytes = b""
    mark: int = 0


NOTHING_STORED: Final = Stored()


class CacheStore(Protocol):
    """What all stores can do."""

    async def read(self, slot: Slot, *, is_newest: bool = False) -> Stored:
        """Return what stands there; ``NOTHING_STORED`` if nothing does.

        What is read may be a moment old, unless the newest is asked for.

        Raises:
            CacheAway: if it cannot be asked now.
        """
        ...

    async def swap(self, slot: Slot, standing: Stored, data: bytes, *, kept: timedelta) -> Stored | None:
        """Put ``data`` in the place of what stands there, for at least as long as ``kept``, if there is room.

        Returns what stands there then; None if something else than ``standing`` did.

        Raises:
            CacheAway: if it cannot be asked now; whether it was stored is unknown.
        """
        ...

    async def forget(self, owner: Token) -> None:
        """Delete all that is an owner's, where nobody else does so.

        Raises:
            CacheAway: if it cannot be asked now.
        """
        ...

    async def close(self) -> None:
        """Let go of what the store holds open."""
        ...


class PatientStore:
    """A store that nobody waits for longer than a moment."""

    def __init__(self, store: CacheStore, patience: timedelta) -> None:
        """Ask ``store``, which is closed with this."""
        self._store = store
        self._patience_s = patience.total_seconds()
        self._looking: asyncio.Task[None] | None = None

    @property
    def is_away(self) -> bool:
        """Whether it did not answer, and was not seen to answer since."""
        return self._looking is not None

    async def read(self, slot: Slot, *, is_newest: bool = False) -> Stored:
        """Return what stands in a slot.

        Raises:
            CacheAway: if the store is away.
        """
        return await self._soon(self._store.read(slot, is_newest=is_newest), self._patience_s)

    async def swap(
        self, slot: Slot, standing: Stored, data: bytes, *, kept: timedelta, is_patient: bool = False
    ) -> Stored | None:
        """Replace what stands in a slot; ``is_patient`` says that no client waits for it.

        Raises:
            CacheAway: if the store is away.
        """
        patience_s = max(self._patience_s, UNHURRIED_S) if is_patient else self._patience_s
        return await self._soon(self._store.swap(slot, standing, data, kept=kept), patience_s)

    async def forget(self, owner: Token) -> None:
        """Delete all that is an owner's; this may take its time.

        Raises:
            CacheAway: if the store is away.
        """
        await self._store.forget(owner)

    async def close(self) -> None:
        """Look no more, and close the store."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self._store.close()

    async def _soon(self, asking: Coroutine[Any, Any, T], patience_s: float) -> T:
        if self._looking is not None:
            asking.close()
            raise CacheAway("the store of answers did not answer a moment ago")
        try:
            async with asyncio.timeout(patience_s):
                return await asking
        except TimeoutError:
            raise self._left(f"no answer within {patience_s:g} s") from None
        except CacheAway as error:
            raise self._left(str(error)) from error

    def _left(self, reason: str) -> CacheAway:
        if self._looking is None:
            log.warning("the store of answers is away (%s): requests go by it until it is back", reason)
            self._looking = asyncio.create_task(self._look(), name="cache-look")
        return CacheAway(reason)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                async with asyncio.timeout(max(LOOK_EVERY_S, self._patience_s)):
                    await self._store.read(_NOBODYS)
            except (TimeoutError, CacheAway):
                continue
            log.warning("the store of answers is back")
            self._looking = None
            return
