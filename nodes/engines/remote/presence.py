"""Whether the server behind an engine is there: looked at now and then, and at once when it seems not to be."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

from nodes.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

EVERY_S: Final = 5.0
"""How often a server is looked at that nobody doubts, or that is away."""
_PATIENT_LOOKS: Final = 2
"""So many looks in a row must fail where no answer made anybody doubt: a busy server may be slow to say anything."""


class Presence:
    """Looks at one server until it is stopped."""

    def __init__(self, name: str, look: Callable[[], Awaitable[None]]) -> None:
        """Look by ``look``, which raises where the server called ``name`` cannot serve."""
        self.away: str | None = None
        """Why it cannot serve; None while it can."""
        self._name = name
        self._look = look
        self._doubted = asyncio.Event()
        self._failed = 0
        self._looking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._looking = asyncio.create_task(self._run(), name="engine-presence")

    def doubt(self) -> None:
        """Look at once: an answer failed in a way that lets one think it is gone."""
        self._doubted.set()

    async def stop(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait((self._looking,))

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await self._doubted.wait()
            doubted = self._doubted.is_set()
            self._doubted.clear()
            try:
                await self._look()
            except EngineError as error:
                self._note_failure(str(error), at_once=doubted)
            else:
                self._note_success()

    def _note_failure(self, reason: str, *, at_once: bool) -> None:
        self._failed += 1
        if self.away is None and (at_once or self._failed >= _PATIENT_LOOKS):
            self.away = reason
            log.warning("%s cannot be asked, and its models are withdrawn until it can: %s", self._name, reason)

    def _note_success(self) -> None:
        self._failed = 0
        if self.away is not None:
            self.away = None
            log.info("%s can be asked again", self._name)
