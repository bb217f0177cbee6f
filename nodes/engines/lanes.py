"""Runs generations in threads and brings their pieces to the event loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from nodes.engine import EngineLoad, Piece
from nodes.errors import EngineError, EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable


class PieceSink:
    """The way of one request's pieces from an engine's thread to the event loop.

    It holds whatever the consumer has not taken yet; that is bounded, because a request cannot yield more pieces than
    its context has tokens.
    """

    def __init__(self) -> None:
        self.closed = False
        """Set when nobody wants more: the thread must end its work at the next step."""
        self._loop = asyncio.get_running_loop()
        self._items: asyncio.Queue[Piece | EngineError | None] = asyncio.Queue()

    def put(self, item: Piece | EngineError | None) -> None:
        """Hand over from the thread; ``None`` ends the pieces, an error is raised where they are read."""
        if self.closed:
            return
        try:
            self._loop.call_soon_threadsafe(self._items.put_nowait, item)
        except RuntimeError:  # the loop was closed under us: nobody will ever read
            self.closed = True

    def abort(self, error: EngineError) -> None:
        """End the pieces from the event loop's side."""
        self.closed = True
        self._items.put_nowait(error)

    async def get(self) -> Piece | None:
        """Wait for the next piece.

        Raises:
            EngineError: what the thread or `abort` left.
        """
        item = await self._items.get()
        if isinstance(item, EngineError):
            raise item
        return item


class Lanes:
    """As many threads as the engine has slots; requests above that wait in order and cost no thread.

    A lane is free again when its thread has really ended, not when its consumer lost interest.
    """

    def __init__(self, slots: int) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._threads = ThreadPoolExecutor(max_workers=slots, thread_name_prefix="engine")
        self._sinks: set[PieceSink] = set()
        self._waiting = 0
        self._stopped = False

    async def stream(self, work: Callable[[PieceSink], None]) -> AsyncGenerator[Piece, None]:
        """Run ``work`` in a lane and yield what it puts into its sink.

        Raises:
            EngineError: raised by ``work``, or wrapped around anything else that it raised.
        """
        await self._enter()
        sink = PieceSink()
        self._sinks.add(sink)
        job = asyncio.get_running_loop().run_in_executor(self._threads, _run, work, sink)
        job.add_done_callback(lambda _: self._leave(sink))
        try:
            while (piece := await sink.get()) is not None:
                yield piece
        finally:
            sink.closed = True
            await asyncio.wait([job])

    def load(self) -> EngineLoad:
        """Count lanes in use and requests that wait for one."""
        return EngineLoad(running=len(self._sinks), waiting=self._waiting)

    async def stop(self) -> None:
        """Abort everything and return when every thread has ended."""
        self._stopped = True
        for sink in self._sinks:
            sink.abort(_stopped())
        await asyncio.to_thread(self._threads.shutdown)

    async def _enter(self) -> None:
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        if self._stopped:
            self._slots.release()
            raise _stopped()

    def _leave(self, sink: PieceSink) -> None:
        self._sinks.discard(sink)
        self._slots.release()


def _run(work: Callable[[PieceSink], None], sink: PieceSink) -> None:
    try:
        work(sink)
    except EngineError as e:
        sink.put(e)
    except Exception as e:  # whatever a binding raises: the consumer gets it as one kind
        error = EngineError(f"the engine failed: {type(e).__name__}: {e}")
        error.__cause__ = e
        sink.put(error)
    else:
        sink.put(None)


def _stopped() -> EngineUnavailable:
    return EngineUnavailable("the engine was stopped")
