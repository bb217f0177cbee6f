"""``ig3 sites``: edge sites of a hub, and becoming one."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mesh.config.options import only, settings_options
from mesh.config.quantities import format_duration
from mesh.config.settings import MeshSettings
from mesh.inspection.operator_bus import run_on_bus
from mesh.inspection.tables import Column, print_table
from mesh.processes.terminal import terminal
from mesh.sites.plan import copies_of
from mesh.sites.records import add_site, join_hub, remove_site, site_records
from mesh.sites.standing import standing

if TYPE_CHECKING:
    from datetime import timedelta

    from mesh.bus.service_bus import Bus
    from mesh.inspection.tables import Cell
    from mesh.processes.terminal import Terminal
    from mesh.sites.standing import CopyStanding

_PLACE: Final = only(MeshSettings, "nats", "data_dir")
_FOLDER: Final = only(MeshSettings, "data_dir")
_EXAMPLES: Final = """\b
Examples:
  ig3 sites add berlin          # at the hub: makes berlin.join, to be carried to the site
  ig3 sites join berlin.join    # at the site, once
  ig3 up --leaf hub.example:7422
  ig3 sites list                # at the hub: how far it has got with each site
"""


@click.group(epilog=_EXAMPLES)
def sites() -> None:
    """Add and join edge sites, and show how far the hub has got.

    A site is a whole mesh that works by itself. Its tasks, answers and usage are copied to the hub while both are
    linked, and later what was missed.
    """


@sites.command()
@click.argument("name")
@click.option(
    "--join-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where to write the site's credentials.  [default NAME.join]",
)
@settings_options(mesh=only(MeshSettings, "data_dir", "results_streams"))
def add(name: str, join_file: Path | None, mesh: MeshSettings) -> None:
    """Make a site's credentials, at the hub.

    The file holds the site's secrets: carry it there, join, and delete it. A hub that runs lets the site in at once.
    """
    path = join_file or Path(f"{name}.join")
    add_site(mesh.data_dir, name, results_streams=mesh.results_streams, join_file=path)
    click.echo(path)
    terminal().err.print(f"Carry it to the site; there: ig3 sites join {shlex.quote(path.name)}", markup=False)


@sites.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@settings_options(mesh=_FOLDER)
def join(file: Path, mesh: MeshSettings) -> None:
    """Make this mesh the site that a join file names.

    Do it before the first start, or stop the mesh for it: its broker gets a JetStream domain of its own.
    """
    joined = join_hub(mesh.data_dir, file)
    click.echo(joined.site)
    terminal().err.print(f"{file} is not needed any more: delete it. Then: ig3 up --leaf HUB:PORT", markup=False)


@sites.command()
@click.argument("name")
@settings_options(mesh=_FOLDER)
def remove(name: str, mesh: MeshSettings) -> None:
    """Shut a site out, at the hub; what it has sent stays."""
    remove_site(mesh.data_dir, name)


@sites.command(name="list")
@settings_options(mesh=_PLACE)
def list_sites(mesh: MeshSettings) -> None:
    """Show how far the hub has got with each site."""
    records = site_records(mesh.data_dir)
    found: list[tuple[str, CopyStanding]] = []

    async def work(bus: Bus) -> None:
        for record in records:
            found.extend((record.site, one) for one in await standing(bus.links, copies_of(mesh, record)))

    run_on_bus(mesh, "sites", work)
    _print(terminal(), found)


def _print(screen: Terminal, found: list[tuple[str, CopyStanding]]) -> None:
    columns = (
        *(Column("SITE"), Column("STREAM"), Column("EVENTS", right=True), Column("BEHIND", right=True)),
        *(Column("LINK"), Column("LAST HEARD")),
    )
    rows = [
        (
            *(site, one.stream),
            *("" if number is None else f"{number:,}" for number in (one.events, one.behind)),
            *(_link(one), _ago(one.silent_for)),
        )
        for site, one in found
    ]
    print_table(screen, columns, rows)


def _link(one: CopyStanding) -> Cell:
    if one.events is None:
        return "no stream yet", "red"
    return ("linked", "green") if one.is_linked else ("cut", "yellow")


def _ago(silence: timedelta | None) -> str:
    return "not since the hub started" if silence is None else f"{format_duration(silence)} ago"
