"""``ig3 events verify``: whether everything that is believed now is what the log adds up to."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import click
import msgspec

from mesh.config.options import only, settings_options
from mesh.config.settings import MeshSettings
from mesh.history.snapshots import SNAPSHOTS, SnapshotStore
from mesh.inspection.operator_bus import run_on_bus
from mesh.inspection.tables import Column, print_table
from mesh.inspection.verify import verify
from mesh.processes.terminal import terminal

if TYPE_CHECKING:
    from mesh.bus.service_bus import Bus
    from mesh.inspection.findings import Report
    from mesh.processes.terminal import Terminal

_PLACE: Final = only(MeshSettings, "nats", "data_dir", "results_streams")
_EXAMPLES: Final = """\b
Examples:
  ig3 events verify           # exit status 1 if anything differs
  ig3 events verify --json    # the same for a program
"""


@click.command(name="verify", epilog=_EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@settings_options(mesh=_PLACE)
def verify_events(mesh: MeshSettings, as_json: bool) -> None:
    """Make all anew from the log and compare.

    The roster, the devices and the accounts of every running service, the tasks that dispatchers hold, every stored
    end and every dead letter are compared with what the log adds up to, from its first event and from the newest
    snapshot. It changes nothing. The exit status is 1 if anything differs.
    """
    reports: list[Report] = []

    async def work(bus: Bus) -> None:
        reports.append(await verify(bus, mesh.streams, SnapshotStore(mesh.data_dir / SNAPSHOTS)))

    run_on_bus(mesh, "verify", work)
    report = reports[0]
    if as_json:
        click.echo(msgspec.json.encode(report))
    else:
        _print(terminal(), report)
    if not report.is_equal:
        sys.exit(1)


def _print(screen: Terminal, report: Report) -> None:
    columns = (
        *(Column("PROJECTION"), Column("COMPARED WITH"), Column("EVENTS", right=True), Column("STATES", right=True)),
        *(Column("RESULT"), Column("TOOK", right=True), Column("")),
    )
    rows = [
        (
            *(one.projection, one.compared_with, f"{one.events:,}", f"{one.compared:,}"),
            ("equal", "green") if one.different == 0 else (f"{one.different:,} differ", "red"),
            f"{one.took_s:.2f} s" if one.took_s else "",
            one.note,
        )
        for one in report.comparisons
    ]
    print_table(screen, columns, rows)
    screen.out.print(f"refused writes seen: {report.refused_writes:,}; noise: {report.noise:,}", markup=False)
    for difference in report.differences:
        screen.out.print(f"{difference.projection}: {difference.where}: {difference.detail}", markup=False, style="red")
