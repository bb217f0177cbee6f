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


@click.command()
@click.argument("name")
@click.option("--replicas", type=_NUMBER, required=True, metavar="N", help="On how many nodes.")
@settings_options(mesh=_PLACE)
def place(name: str, replicas: int, mesh: MeshSettings) -> None:
    """Have so many nodes serve a model of the store, whatever the demand."""
    _desire(mesh, name, replicas, None)


@click.command()
@click.argument("name")
@click.option("--min", "least", type=_NUMBER, required=True, metavar="N", help="At least on so many nodes; 0 if idle.")
@click.option("--max", "most", type=_NUMBER, required=True, metavar="N", help="At most on so many.")
@settings_options(mesh=_PLACE)
def scale(name: str, least: int, most: int, mesh: MeshSettings) -> None:
    """Have as many nodes serve a model of the store as the demand asks for, between two bounds.

    With --min 0 the first task waits until a node has fetched and loaded the model.
    """
    _desire(mesh, name, least, most)


@click.command()
@click.argument("name")
@settings_options(mesh=_PLACE)
def evict(name: str, mesh: MeshSettings) -> None:
    """Have nodes give up a model that was placed; running answers end or go on elsewhere."""

    async def work(bus: Bus) -> None:
        await give_up(bus.core, name)

    run_on_bus(mesh, "models", work)


def _desire(mesh: MeshSettings, name: str, replicas: int, most: int | None) -> None:
    async def work(bus: Bus) -> None:
        await desire(bus.core, name, replicas=replicas, most=most)

    run_on_bus(mesh, "models", work)
