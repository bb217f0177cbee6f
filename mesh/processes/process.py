"""The frame of every long-running command: logging, an event loop, and signals that ask it to stop."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Final, TypeVar

from mesh.processes.logs import configure_logging

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from mesh.config.settings import MeshSettings

    Main = Callable[[asyncio.Event], Awaitable[None]]

T = TypeVar("T")

_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def run_process(name: str, settings: MeshSettings, main: Main, *, fast_loop: bool = True) -> None:
    """Run ``main`` until it returns; it gets an event that is set when the process is asked to stop.

    Args:
        name: how the process is called in its log: ``gateway``, ``node``.
        settings: how to log.
        main: what to run. It watches the event, stops what it started, and returns.
        fast_loop: whether to use uvloop; a process that waits most of the time saves its memory.
    """
    configure_logging(name, settings)
    with asyncio.Runner(loop_factory=_fast_loop if fast_loop else None) as runner:
        runner.run(_until_stopped(main))


async def _until_stopped(main: Main) -> None:
    stop = asyncio.Event()
    listen_for_stop(stop.set)
    await main(stop)


async def unless(stop: asyncio.Event, work: Coroutine[object, object, T]) -> T | None:
    """Do ``work``, or give it up once ``stop`` is set: then None."""
    doing, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((doing, stopping), return_when=asyncio.FIRST_COMPLETED)
        return doing.result() if doing.done() else None
    finally:
        doing.cancel()
        stopping.cancel()
        await asyncio.wait((doing, stopping))


def listen_for_stop(on_stop: Callable[[], None]) -> None:
    """Call ``on_stop`` for each signal that asks this process to stop.

    Signals that a supervisor had us ignore stay ignored: it alone decides when its children stop.
    """
    loop = asyncio.get_running_loop()
    for stop_signal in _STOP_SIGNALS:
        if signal.getsignal(stop_signal) is not signal.SIG_IGN:
            loop.add_signal_handler(stop_signal, on_stop)


def _fast_loop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()
