"""``ig3 account export`` and ``ig3 account erase``: what is stored of an account, carried away or gone."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import click
import msgspec

from mesh.access.reading import read_access
from mesh.access.writer import AccessWriter
from mesh.broker.credentials import Credentials
from mesh.client.client import ClientOptions, open_client
from mesh.config.options import only, settings_options
from mesh.config.settings import MeshSettings
from mesh.errors import AccountError
from mesh.inspection.account_erasure import AccountErasure, Erased
from mesh.inspection.account_export import export_account
from mesh.inspection.operator_bus import run_on_bus
from mesh.processes.terminal import terminal
from mesh.sites.plan import streams_here
from streams.tokens import token

if TYPE_CHECKING:
    from collections.abc import Generator

    from mesh.bus.service_bus import Bus
    from streams.subjects import TaskKey
    from streams.tokens import Token

_PLACE: Final = only(MeshSettings, "nats", "data_dir", "results_streams")
_CANCELLED_WITHIN_S: Final = 15
_LOOK_S: Final = 0.2
_EXAMPLES: Final = """\b
Examples:
  ig3 account export acme --output acme.jsonl                # prompts, answers, ends, keys
  ig3 account close acme --reason "asked for by its owner"   # so that nothing new comes
  ig3 account erase acme --reason "asked for by its owner"   # prompts and answers go, ends and charges stay
"""


@click.command(name="export", epilog=_EXAMPLES)
@click.argument("name", metavar="ACCOUNT")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a new file, which only you can read.",
)
@settings_options(mesh=_PLACE)
def export_data(mesh: MeshSettings, name: str, output: Path | None) -> None:
    """Print all that is stored of an account.

    One JSON object per line: what was submitted, what was answered, how each task ended, idempotency keys, members, API
    keys (not their secrets) and charges, as far back as each of them is kept.
    """
    account = token(name)
    lines = 0

    async def work(bus: Bus) -> None:
        nonlocal lines
        with _opened(output) as file:
            async for line in export_account(bus, account, streams_here(mesh)):
                file.write(msgspec.json.encode(line) + b"\n")
                lines += 1

    run_on_bus(mesh, "account", work)
    click.echo(f"{lines} stored messages of account {account}", err=True)


@click.command(name="erase", epilog=_EXAMPLES)
@click.argument("name", metavar="ACCOUNT")
@click.option("--reason", required=True, help="Why, for whoever looks later.")
@click.option("--cancel", is_flag=True, help="First cancel tasks of the account that have not ended.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@settings_options(mesh=_PLACE)
def erase_data(mesh: MeshSettings, name: str, reason: str, cancel: bool, yes: bool) -> None:
    """Erase the prompts and answers of an account, for ever.

    They are written over in the streams. How each task ended, with its usage, stays as long as ends are kept, and so do
    charges. While tasks of the account run nothing is erased. Close the account first if nothing new shall come.
    """
    account = token(name)
    if not yes:
        click.confirm(f"Erase all prompts and answers of account {account}, for ever?", abort=True, err=True)

    async def work(bus: Bus) -> None:
        if (await read_access(bus.core, account)).access.account(account) is None:
            raise AccountError(f"there is no account {account}: `ig3 account list --all` shows those that there are")
        if cancel:
            await _cancel(mesh, bus, account)
        erasure = await AccountErasure.begin(bus, account, streams_here(mesh))
        terminal().err.print(f"Erasing account {account} ...", markup=False)
        erased = await erasure.run()
        await AccessWriter(bus.core).erased(account, reason=reason, at_ms=erasure.at_ms, messages=erased.messages)
        _tell(account, erased, is_cluster=len(mesh.nats_urls) > 1)

    run_on_bus(mesh, "account", work)


def _tell(account: Token, erased: Erased, *, is_cluster: bool) -> None:
    click.echo(
        f"account {account}: {erased.messages} messages were written over (prompts, answers, markers, keys); "
        f"ends and charges stay"
    )
    for stream, count in erased.copies.items():
        click.echo(f"{stream} still holds {count} messages of it: copies of an edge site, until they expire", err=True)
    if is_cluster:
        click.echo("the servers' consensus logs may hold some of it for a while yet: see docs/security.md", err=True)


async def _cancel(mesh: MeshSettings, bus: Bus, account: Token) -> None:
    """Cancel what runs, and wait until nothing does; what does not end in time is named by the erasing itself."""
    seed = Credentials.load_one(mesh.data_dir, "edge-service").seed_path
    for key in await _open_tasks(mesh, bus, account):
        # Checks of answers are the mesh's own.
        options = ClientOptions(servers=mesh.nats_urls, tls=mesh.nats_tls, account=key.account, seed_file=seed)
        async with await open_client(options) as client:
            await client.cancel(key.task, reason="the account is erased")
    for _ in range(round(_CANCELLED_WITHIN_S / _LOOK_S)):
        if not await _open_tasks(mesh, bus, account):
            return
        await asyncio.sleep(_LOOK_S)


async def _open_tasks(mesh: MeshSettings, bus: Bus, account: Token) -> list[TaskKey]:
    return await (await AccountErasure.begin(bus, account, streams_here(mesh))).open_tasks()


@contextmanager
def _opened(output: Path | None) -> Generator[IO[bytes]]:
    if output is None:
        yield sys.stdout.buffer
        return
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise AccountError(f"cannot write {output}: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as file:
        yield file
