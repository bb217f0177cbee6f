"""The commands of ``ig3 ledger`` on the bus of a mesh in this process."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from mesh.bus.service_bus import Bus
from mesh.cli import root
from tests.mesh_in_process import InProcessMesh

Shell = Callable[..., Awaitable[str]]


def ledger_shell(
    mesh: InProcessMesh,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *modules: ModuleType,
    group: str = "ledger",
) -> Shell:
    """Return what runs a command of ``modules`` there, and returns what it prints."""
    loop = asyncio.get_running_loop()

    def on_this_bus(_: object, __: str, work: Callable[[Bus], Awaitable[None]]) -> None:
        async def run() -> None:
            await work(mesh.bus)

        asyncio.run_coroutine_threadsafe(run(), loop).result()

    for module in modules:
        monkeypatch.setattr(module, "run_on_bus", on_this_bus)

    async def ig3(*words: str, status: int = 0) -> str:
        arguments = [group, *words, "--data-dir", str(folder)]
        done = await asyncio.to_thread(CliRunner().invoke, root, arguments, catch_exceptions=False)
        assert done.exit_code == status
        return done.stdout

    return ig3
