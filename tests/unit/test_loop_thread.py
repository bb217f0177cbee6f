"""Plain code that waits for what runs in another thread's event loop, and Ctrl-C at any moment of it."""

import asyncio
import sys
import threading
from collections.abc import Coroutine, Iterator
from types import FrameType
from typing import Any

import pytest

from mesh.client.loop_thread import LoopThread
from mesh.errors import BusUnavailable

LIMIT_S = 50.0


@pytest.fixture
def thread() -> Iterator[LoopThread]:
    thread = LoopThread()
    yield thread
    thread.stop()


class Interrupt:
    """Ctrl-C at one step of what this thread does: Python raises it between any two of its instructions."""

    def __init__(self, at: int) -> None:
        self._left = at
        self.came = False

    def __enter__(self) -> None:
        self._before = sys.gettrace()
        sys.settrace(self._look)

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _look(self, frame: FrameType, event: str, argument: object) -> Any:
        frame.f_trace_opcodes = True
        if event == "opcode":
            self._left -= 1
            if self._left < 0:
                self.came = True
                sys.settrace(None)
                raise KeyboardInterrupt
        return self._look


def interrupted(thread: LoopThread, work: Coroutine[Any, Any, object], at: int) -> bool:
    """Wait for some work, with Ctrl-C at one step; returns whether there is such a step."""
    interrupt = Interrupt(at)
    try:
        with interrupt:
            thread.wait(work)
    except KeyboardInterrupt:
        assert interrupt.came
    return interrupt.came


def test_an_interrupt_at_any_step_leaves_a_loop_that_can_be_asked_again() -> None:
    steps = []

    def all_of_them() -> None:
        thread = LoopThread()
        while True:
            work = asyncio.sleep(0.001)
            is_interrupted = interrupted(thread, work, len(steps))
            assert thread.wait(asyncio.sleep(0, "still here")) == "still here"
            work.close()
            if not is_interrupted:
                break
            steps.append(work)
        thread.stop()

    # In a thread of its own: where a lock stays taken, nothing in that thread goes on.
    asking = threading.Thread(target=all_of_them, daemon=True)
    asking.start()
    asking.join(LIMIT_S)
    assert not asking.is_alive(), f"nothing goes on after an interrupt at step {len(steps)}"
    assert len(steps) > 50


def test_an_interrupt_cancels_what_is_waited_for(thread: LoopThread) -> None:
    begun, ended = threading.Event(), threading.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    def interrupt(frame: FrameType, event: str, argument: object) -> Any:
        if begun.is_set():
            raise KeyboardInterrupt
        return interrupt

    before = sys.gettrace()
    sys.settrace(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            thread.wait(work())
    finally:
        sys.settrace(before)
    assert ended.wait(LIMIT_S)


def test_what_the_work_raises_comes_out(thread: LoopThread) -> None:
    async def fail() -> None:
        raise TimeoutError("of the work itself")

    with pytest.raises(TimeoutError, match="of the work itself"):
        thread.wait(fail())


def test_one_that_is_stopped_says_so_to_whoever_waits_and_whoever_comes(thread: LoopThread) -> None:
    begun = threading.Event()
    told: list[str] = []

    async def for_ever() -> None:
        begun.set()
        await asyncio.Event().wait()

    def wait() -> None:
        with pytest.raises(BusUnavailable) as raised:
            thread.wait(for_ever())
        told.append(str(raised.value))

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert begun.wait(LIMIT_S)
    thread.stop()
    waiting.join(LIMIT_S)
    with pytest.raises(BusUnavailable, match="this client is closed"):
        thread.wait(asyncio.sleep(0))
    assert told == ["this client is closed"]
