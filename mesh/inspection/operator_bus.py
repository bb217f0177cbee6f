"""The bus as a command of an operator holds it: with the services' credentials, for as long as the command runs."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from mesh.bus.service_bus import Bus
from mesh.processes.bus_options import bus_options
from mesh.processes.logs import configure_logging

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from mesh.config.settings import MeshSettings

_INTERRUPTED: Final = 130
"""What a shell reports of a command that ended by Ctrl-C."""


async def open_bus(mesh: MeshSettings, command: str) -> Bus:
    """Connect to both accounts with the credentials in the data folder; close the bus after use.

    Raises:
        CredentialsError: if they are not there: such commands run where the broker's data folder is.
        BusUnavailable: if the broker cannot be reached.
    """
    return await Bus.connect(bus_options(mesh, f"cli-{command}-{os.getpid()}"))


def quiet_logging(mesh: MeshSettings) -> None:
    """Log nothing of what a person is told anyway, unless the settings ask for all of it (``log_level = "debug"``)."""
    if mesh.log_level == "debug":
        configure_logging("ig3", mesh)
    else:
        logging.getLogger().setLevel(logging.ERROR)


def run_on_bus(mesh: MeshSettings, command: str, work: Callable[[Bus], Coroutine[Any, Any, None]]) -> None:
    """Run ``work`` with a bus and close that again. Ctrl-C ends it without a word."""

    async def main() -> None:
        async with await open_bus(mesh, command) as bus:
            await work(bus)

    run_quietly(mesh, main)


def run_quietly(mesh: MeshSettings, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a command's coroutine; Ctrl-C ends it without a word."""
    quiet_logging(mesh)
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
