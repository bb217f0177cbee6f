"""The bus as a command of an operator holds it: with the services' credentials, for as long as the command runs."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from mesh.broker.credentials import Credentials
from mesh.bus.service_bus import Bus, BusOptions
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
    edge, core = Credentials.load_some(mesh.data_dir, "edge-service", "core-service")
    return await Bus.connect(
        BusOptions(
            servers=mesh.nats_urls,
            tls=mesh.nats_tls,
            name=f"cli-{command}-{os.getpid()}",
            edge_seed=edge.seed_path,
            core_seed=core.seed_path,
            results_streams=mesh.results_streams,
        )
    )


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
