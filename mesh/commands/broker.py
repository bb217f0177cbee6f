"""``ig3 broker``: a nats-server of our own, with the streams of the mesh."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from mesh.broker.credentials import Credentials
from mesh.broker.files import broker_variables, write_env_file
from mesh.broker.server import EmbeddedServer
from mesh.bus.provision import Action, provision
from mesh.bus.service_bus import Bus, BusOptions
from mesh.config.options import only, settings_options
from mesh.config.settings import MeshSettings
from mesh.processes.process import run_process
from mesh.processes.readiness import announce_progress, announce_ready
from streams.topology import consumer_specs

if TYPE_CHECKING:
    import asyncio

    from mesh.bus.provision import Finding
_EXAMPLES: Final = """\b
Examples:
  ig3 broker                         # on loopback, in .ig3
  ig3 broker --nats 10.0.0.5:4222    # for nodes on other machines of a trusted network
  ig3 broker --env-only              # prepare for a nats-server of your own
"""


@click.command(epilog=_EXAMPLES)
@click.option(
    "--env-only",
    is_flag=True,
    help="Only make the credentials and nats.env, for a nats-server that somebody else runs with our nats.conf.",
)
@settings_options(
    mesh=only(
        MeshSettings,
        *("nats", "data_dir", "durability", "results_streams", "replicas", "retention", "ended_retention"),
        *("store_limit", "monitor", "log_level", "log_format"),
    )
)
def broker(env_only: bool, mesh: MeshSettings) -> None:
    """Run the NATS server with the streams of the mesh.

    The server is a child of this command: it is started again when it dies, and stops when this command stops. Its
    streams, credentials and log lie in the data folder.
    """
    if env_only:
        _prepare(mesh)
        return

    async def main(stop: asyncio.Event) -> None:
        await _serve(mesh, stop)

    run_process("broker", mesh, main, fast_loop=False)


def _prepare(mesh: MeshSettings) -> None:
    credentials = Credentials.load_or_create(mesh.data_dir)
    path = write_env_file(mesh.broker, broker_variables(mesh.broker, credentials))
    click.echo(path)


async def _serve(mesh: MeshSettings, stop: asyncio.Event) -> None:
    announce_progress("starting nats-server")
    async with EmbeddedServer(mesh.broker) as server:
        announce_progress("making the streams")
        findings = await _establish(mesh, server)
        made = sum(finding.action is not Action.SAME for finding in findings)
        detail = f"{server.url}, {len(findings)} streams and consumers ({made} new or changed)"
        click.echo(server.url)
        announce_ready(detail, url=server.url)
        await stop.wait()


async def _establish(mesh: MeshSettings, server: EmbeddedServer) -> list[Finding]:
    options = BusOptions(
        servers=(server.url,),
        name="broker",
        edge_seed=server.credentials.edge_service.seed_path,
        core_seed=server.credentials.core_service.seed_path,
        results_streams=mesh.results_streams,
    )
    async with await Bus.connect(options) as bus:
        return await provision(bus.links, mesh.streams, consumer_specs())
