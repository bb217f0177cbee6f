"""``ig3 retrieval``: takes files into vector stores, and searches them."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Final

import click

from gateway.retrieval.expiring import Expirer
from gateway.retrieval.following import IndexFollower
from gateway.retrieval.index.open_index import open_index
from gateway.retrieval.ingesting.ingester import Ingester
from gateway.retrieval.ingesting.means import open_means
from gateway.retrieval.searching import SearchDesk
from gateway.retrieval.settings import RetrievalSettings
from mesh.bus.service_bus import Bus
from mesh.config.options import only, settings_options
from mesh.config.settings import MeshSettings
from mesh.processes.bus_options import bus_options, instance_name
from mesh.processes.process import run_process
from mesh.processes.readiness import announce_progress, announce_ready
from mesh.telemetry.opening import open_telemetry

if TYPE_CHECKING:
    import asyncio

_EXAMPLES: Final = """\b
Examples:
  ig3 retrieval                          # one more, to share the work of those that run
  ig3 retrieval --nats 10.0.0.5:4222     # on another machine than the broker
  ig3 retrieval --passage-tokens 400     # longer passages, for a model that reads them
"""


@click.command(epilog=_EXAMPLES)
@settings_options(
    mesh=only(
        MeshSettings, "nats", "data_dir", "results_streams", "retention", "otlp_endpoint", "log_level", "log_format"
    ),
    retrieval=RetrievalSettings,
)
@click.option("--rebuild", is_flag=True, help="Empty the index first, and build it anew from the log.")
def retrieval(mesh: MeshSettings, retrieval: RetrievalSettings, rebuild: bool) -> None:
    """Take files into vector stores, and search them.

    Files are read, split into passages, and embedded by nodes. Any number of processes share the work; when one dies,
    its files move to another within seconds, and nothing is done twice.
    """

    async def main(stop: asyncio.Event) -> None:
        await serve(mesh, retrieval, stop, is_anew=rebuild)

    run_process("retrieval", mesh, main)


async def serve(mesh: MeshSettings, settings: RetrievalSettings, stop: asyncio.Event, *, is_anew: bool = False) -> None:
    """Run a retrieval process until ``stop`` is set; ``is_anew``: build its index anew.

    Raises:
        MeshError: if the bus cannot be reached or is not provisioned, or the index cannot be used.
    """
    announce_progress("connecting to the bus")
    options = bus_options(mesh, instance_name("retrieval"))
    telemetry = open_telemetry("ig3-retrieval", otlp_endpoint=mesh.otlp_endpoint)
    async with await Bus.connect(options) as bus, aclosing(open_index(settings, mesh.data_dir)) as index:
        await bus.follow()
        means = open_means(bus, settings, mesh.retention)
        follower = IndexFollower(bus.core, index, is_anew=is_anew)
        # What is added while the index is built, which takes a while where it is new, is taken in meanwhile.
        ingester, desk = Ingester(bus.core, means, telemetry=telemetry), SearchDesk(bus, follower, index)
        parts = (ingester, follower, desk, Expirer(follower, means.stores))
        announce_progress("bringing the index up to date")
        for part in parts:
            await part.start()
        announce_ready(f"{options.name} takes files into vector stores, and searches them")
        await stop.wait()
        for part in reversed(parts):
            await part.stop()
    telemetry.close()
