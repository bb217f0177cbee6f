"""``ig3 ledger seal``: closes months of the books that are over, and writes them to files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from gateway.commands.ledger_books import PLACE
from gateway.ledger.archive import write_archive
from gateway.ledger.sealing import due
from gateway.ledger.sealing import seal as seal_month
from mesh.config.options import settings_options
from mesh.inspection.operator_bus import run_on_bus

if TYPE_CHECKING:
    from gateway.ledger.sealing import Sealing
    from mesh.bus.service_bus import Bus
    from mesh.config.settings import MeshSettings

_EXAMPLES: Final = """\b
Examples:
  ig3 ledger seal                                # every month that is over
  ig3 ledger seal 2026-11 --archive books/       # one, and its events in a file
  ig3 ledger verify --archive books/books-2026-11-0123456789abcdef.jsonl
"""


@click.command(epilog=_EXAMPLES)
@click.argument("month", metavar="[MONTH]", required=False)
@click.option(
    "--archive",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Write the events of each month to a file there.",
)
@settings_options(mesh=PLACE)
def seal(mesh: MeshSettings, month: str | None, archive: Path | None) -> None:
    """Close a month that is over, for good: its hash and what the books had come to stand on the log.

    Without MONTH (as 2026-11, in UTC) every one that is over. A month that was sealed stays as it is.
    """
    said: list[str] = []

    async def work(bus: Bus) -> None:
        for period in await due(bus.core) if month is None else [month]:
            sealing = await seal_month(bus.core, period)
            said.append(_line(sealing))
            if archive is not None:
                said.append(f"archived to {await write_archive(bus.core, sealing.seal, archive)}")

    try:
        run_on_bus(mesh, "ledger-seal", work)
    finally:
        for line in said:
            click.echo(line)


def _line(sealing: Sealing) -> str:
    found = sealing.seal
    done = "is sealed" if sealing.is_new else "was sealed before"
    return (
        f"{found.period} {done}: {found.events:,} events up to {found.last_sequence}, "
        f"{found.transactions:,} transactions, {found.digest}"
    )
