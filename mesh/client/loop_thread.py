"""An event loop in a thread of its own, and how plain code waits for what runs there.

An interrupt (Ctrl-C) comes between any two steps of Python code in the main thread: also right after it took a lock
that the loop needs, and then that lock stays taken. The locks of ``concurrent.futures`` are such ones; a loop that
waits for one stands still for good, and with it whoever asks it to cancel something. So nothing here is locked by
Python code: what shall run goes over by ``call_soon_threadsafe``, and what became of it comes back in a
``SimpleQueue``, whose ``put`` and ``get`` cannot be interrupted half-way.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from mesh.errors import BusUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

_LOOK_UP_S: Final = 1.0
_CLOSED: Final = "this client is closed"


class LoopThread:
    """The thread that runs a client's connection."""

    def __init__(self) -> None:
        """Begin to run."""
        started = SimpleQueue[tuple[asyncio.AbstractEventLoop, asyncio.Event]]()
        self._has_ended = False
        """Not asked of the thread: ``is_alive`` locks too, and after an interrupt inside it says no for good."""
        self._thread = threading.Thread(target=self._run, args=(started,), name="ig3-client", daemon=True)
        self._thread.start()
        self._loop, self._stop = started.get()

    @property
    def is_running(self) -> bool:
        """Whether it still does what it is asked."""
        return not self._has_ended

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work`` over there and wait for it; an interrupt of this thread cancels it.

        Raises:
            BusUnavailable: if this is stopped, before or meanwhile.
        """
        call = _Call(work)
        try:
            self._ask(call.begin)
            # Looked up now and then: a client that another thread closes may never answer.
            wait_s = _LOOK_UP_S if self.is_running else 0
            while (ended := _taken(call.ended, wait_s)) is None and self.is_running:
                pass
            if (ended := ended or _taken(call.ended, 0)) is not None:
                return ended.result()
            work.close()
            raise BusUnavailable(_CLOSED)
        except KeyboardInterrupt:
            self._ask(call.cancel)
            raise

    def call(self, function: Callable[[], T]) -> T:
        """Call ``function`` over there."""

        async def run() -> T:
            return function()

        return self.wait(run())

    def stop(self) -> None:
        """End the thread; what still runs there is cancelled."""
        self._ask(self._stop.set)
        self._thread.join()

    def _run(self, started: SimpleQueue[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
        try:
            with asyncio.Runner() as runner:
                runner.run(_serve(started))
        finally:
            self._has_ended = True

    def _ask(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called over there, unless the loop is closed."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback)


class _Ended(Generic[T]):
    """What became of a call."""

    def __init__(self, values: tuple[T, ...], error: BaseException | None = None) -> None:
        self._values = values
        self._error = error

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._values[0]


class _Call(Generic[T]):
    """Something that another thread waits for; what it does here, it does in the loop's thread."""

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self.ended = SimpleQueue[_Ended[T]]()
        self._work = work
        self._task: asyncio.Task[T] | None = None

    def begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._work)
        self._task.add_done_callback(self._end)

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        else:
            # The interrupt came before it was even asked for.
            self._work.close()

    def _end(self, task: asyncio.Task[T]) -> None:
        # The task stays in this thread: where one is let go of, Python code runs that would swallow an interrupt.
        self._task = None
        if task.cancelled():
            self.ended.put(_Ended((), BusUnavailable(_CLOSED)))
        elif (error := task.exception()) is not None:
            self.ended.put(_Ended((), error))
        else:
            self.ended.put(_Ended((task.result(),)))


def _taken(ended: SimpleQueue[_Ended[T]], wait_s: float) -> _Ended[T] | None:
    try:
        return ended.get(block=wait_s > 0, timeout=wait_s)
    except Empty:
        return None


async def _serve(started: SimpleQueue[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    stop = asyncio.Event()
    started.put((asyncio.get_running_loop(), stop))
    await stop.wait()
