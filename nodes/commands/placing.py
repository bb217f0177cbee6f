"""``ig3 models place``, ``scale`` and ``evict``: where models of the store are served."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from mesh.config.options import only, settings_options
from mesh.config.settings import MeshSettings
from mesh.inspection.operator_bus import run_on_bus
from mesh.models.wishes import desire, give_up

if TYPE_CHECKING:
    from mesh.bus.service_bus import Bus

_PLACE: Final = only(MeshSettings, "nats", "data_dir")
_NUMBER: Final = click.IntRange(0, 10_000)
_MOST_REGIONS: Final = 16
_LONGEST_REGION: Final = 64


def _regions(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    if len(given) > _MOST_REGIONS:
        raise click.BadParameter(f"{len(given)} regions are too many: at most {_MOST_REGIONS}")
    for region in given:
        if not 1 <= len(region.strip()) <= _LONGEST_REGION or region != region.strip():
            raise click.BadParameter(
                f"{region!r} is no region: 1 to {_LONGEST_REGION} characters, without blanks around them"
            )
    return given


_in_regions = click.option(
    "--region",
    "regions",
    multiple=True,
    metavar="NAME",
    callback=_regions,
    help="Only on nodes that say this region (`ig3 node --region`); may be given several times.",
)


@click.command()
@click.argument("name")
@click.option("--replicas", type=_NUMBER, required=True, metavar="N", help="On how many nodes.")
@_in_regions
@settings_options(mesh=_PLACE)
def place(name: str, replicas: int, regions: tuple[str, ...], mesh: MeshSettings) -> None:
    """Have so many nodes serve a model of the store, whatever the demand; without --region any nodes."""
    _desire(mesh, name, replicas, None, regions)


@click.command()
@click.argument("name")
@click.option("--min", "least", type=_NUMBER, required=True, metavar="N", help="At least on so many nodes; 0 if idle.")
@click.option("--max", "most", type=_NUMBER, required=True, metavar="N", help="At most on so many.")
@_in_regions
@click.option("--anywhere", is_flag=True, help="On any nodes from now on, whatever regions were said before.")
@settings_options(mesh=_PLACE)
def scale(name: str, least: int, most: int, regions: tuple[str, ...], mesh: MeshSettings, *, anywhere: bool) -> None:
    """Have as many nodes serve a model of the store as the demand asks for, between two bounds.

    With --min 0 the first task waits until a node has fetched and loaded the model. Without --region the regions stay
    that were said before.
    """
    if anywhere and regions:
        raise click.UsageError("--anywhere and --region contradict each other: give one of them")
    _desire(mesh, name, least, most, () if anywhere else regions or None)


@click.command()
@click.argument("name")
@settings_options(mesh=_PLACE)
def evict(name: str, mesh: MeshSettings) -> None:
    """Have nodes give up a model that was placed; running answers end or go on elsewhere."""

    async def work(bus: Bus) -> None:
        await give_up(bus.core, name)

    run_on_bus(mesh, "models", work)


def _desire(mesh: MeshSettings, name: str, replicas: int, most: int | None, regions: tuple[str, ...] | None) -> None:
    async def work(bus: Bus) -> None:
        await desire(bus.core, name, replicas=replicas, most=most, regions=regions)

    run_on_bus(mesh, "models", work)
