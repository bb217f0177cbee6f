"""``ig3`` as an operator of a mesh in this process types it: the whole command, with connections of its own."""

import asyncio
from typing import NamedTuple

from click.testing import CliRunner

from mesh.cli import root
from mesh.errors import MeshError
from tests.mesh_in_process import InProcessMesh


class Said(NamedTuple):
    """What a command came to."""

    status: int
    stdout: str
    stderr: str


async def ig3(mesh: InProcessMesh, *arguments: str) -> Said:
    """Give a command, with nobody at its standard input."""
    place = {"IG3_NATS": mesh.server.url.removeprefix("nats://"), "IG3_DATA_DIR": str(mesh.folder)}
    done = await asyncio.to_thread(CliRunner(env=place).invoke, root, arguments, prog_name="ig3")
    match done.exception:
        case None | SystemExit():
            return Said(done.exit_code, done.stdout, done.stderr)
        case MeshError() as error:
            return Said(1, done.stdout, f"{done.stderr}ig3: {error}")
        case error:
            raise error
