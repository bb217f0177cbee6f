"""Runs requests of texts in threads, text by text, so that each can be ended between two."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from nodes.engine import EngineLoad
from nodes.errors import EngineError, EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from nodes.embedding import Embed, Embedded


class TextJob:
    """One request at work in a thread."""

    def __init__(self) -> None:
        self.over: EngineError | None = None
        """That nobody waits for it any more, or why it ends."""

    def look(self) -> None:
        """Go on only where somebody waits: to be called before each text.

        Raises:
            EngineError: why it ends.
        """
        if self.over is not None:
            raise self.over


class TextLanes:
    """As many threads as the engine has slots; requests above that wait in order and cost no thread."""

    def __init__(self, slots: int, *, name: str) -> None:
        self._free = asyncio.Semaphore(slots)
        self._threads = ThreadPoolExecutor(max_workers=slots, thread_name_prefix=name)
        self._jobs: set[TextJob] = set()
        self._waiting = 0
        self._stopped = False

    async def run(self, work: Callable[[Embed, TextJob], Embedded], request: Embed) -> Embedded:
        """Do ``work`` in a lane, which is free again when this returns.

        Raises:
            EngineError: raised by ``work``, or wrapped around anything else that it raised.
        """
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        job = TextJob()
        self._jobs.add(job)
        try:
            return await self._done(work, request, job)
        finally:
            self._jobs.discard(job)
            self._free.release()

    def load(self) -> EngineLoad:
        """Count lanes in use and requests that wait for one."""
        return EngineLoad(running=len(self._jobs), waiting=self._waiting)

    async def stop(self) -> None:
        """End every request and return when every thread has ended."""
        self._stopped = True
        for job in self._jobs:
            job.over = stopped()
        await asyncio.to_thread(self._threads.shutdown)

    async def _done(self, work: Callable[[Embed, TextJob], Embedded], request: Embed, job: TextJob) -> Embedded:
        if self._stopped:
            raise stopped()
        doing = asyncio.get_running_loop().run_in_executor(self._threads, _guarded, work, request, job)
        try:
            await asyncio.wait([doing])
        except asyncio.CancelledError:
            job.over = EngineError("nobody waits for it any more")
            await asyncio.wait([doing])
            doing.exception()
            raise
        return doing.result()


def stopped() -> EngineUnavailable:
    """Make the error of an engine that cannot be asked."""
    return EngineUnavailable("the engine was stopped or not started yet")


def _guarded(work: Callable[[Embed, TextJob], Embedded], request: Embed, job: TextJob) -> Embedded:
    try:
        return work(request, job)
    except EngineError:
        raise
    except Exception as error:  # whatever a binding raises
        raise EngineError(f"the engine failed: {type(error).__name__}: {error}") from error
