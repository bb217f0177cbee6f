"""``ig3 broker``: a nats-server of our own, with the streams of the mesh."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import click

from mesh.access.session_keys import SessionKeys
from mesh.broker.credentials import Credentials
from mesh.broker.files import (
    broker_variables,
    conf_for,
    find_conf,
    secret_variables,
    write_env_file,
    write_routes_env_file,
)
from mesh.broker.server import EmbeddedServer
from mesh.broker.store_cipher import settle_cipher
from mesh.bus.broker_reload import follow_certificates
from mesh.bus.provision import Action, provision
from mesh.bus.service_bus import Bus, BusOptions
from mesh.bus.store_feed import tell_store
from mesh.config.options import only, settings_options
from mesh.config.settings import MeshSettings
from mesh.processes.process import run_process, unless
from mesh.processes.readiness import announce_progress, announce_ready
from mesh.sites.plan import broker_options
from mesh.sites.settings import SiteSettings
from mesh.sites.watch import follow_sites
from streams.consumers import consumer_specs
from streams.tokens import token

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from mesh.broker.files import BrokerOptions
    from mesh.bus.provision import Finding

_AT_ONCE: Final = timedelta(0)
_FOR_A_MAJORITY: Final = timedelta(days=365)
"""A server of a cluster waits for the others as long as somebody lets it: it cannot serve without them."""

_EXAMPLES: Final = """\b
Examples:
  ig3 broker                         # on loopback, in .ig3
  ig3 broker --nats 10.0.0.5:4222    # for nodes on other machines of a trusted network
  ig3 broker --env-only              # prepare for a nats-server of your own
  ig3 broker --leaf-listen 10.0.0.5:7422    # the hub of edge sites: see ig3 sites
  ig3 broker --routes 10.0.0.5:6222,10.0.0.6:6222,10.0.0.7:6222   # one of three servers: see deploy/cluster
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
        *(
            "store_limit",
            "cache_room",
            "encrypt_store",
            "monitor",
            "server_name",
            "server_dir",
            "routes",
            "route_listen",
            "route_tls",
            "nats_tls_cert",
            "nats_tls_key",
            "nats_tls_ca",
            "log_level",
            "log_format",
        ),
    ),
    site=SiteSettings,
)
def broker(env_only: bool, mesh: MeshSettings, site: SiteSettings) -> None:
    """Run the NATS server with the streams of the mesh.

    The server is a child of this command: it is started again when it dies, and stops when this command stops. Its
    streams, credentials and log lie in the data folder.
    """
    if env_only:
        _prepare(mesh, broker_options(mesh, site))
        return

    async def main(stop: asyncio.Event) -> None:
        await _serve(mesh, site, stop)

    run_process("broker", mesh, main, fast_loop=False)


def _prepare(mesh: MeshSettings, options: BrokerOptions) -> None:
    credentials = Credentials.load_or_create(mesh.data_dir)
    SessionKeys.load_or_create(mesh.data_dir)
    settle_cipher(options.store, mesh.data_dir, options.encrypt_store)
    click.echo(write_env_file(options, broker_variables(options, credentials)))
    if secret := secret_variables(options):
        click.echo(write_routes_env_file(options, secret))
    if (conf := conf_for(options)) != find_conf():
        click.echo(conf)


async def _serve(mesh: MeshSettings, site: SiteSettings, stop: asyncio.Event) -> None:
    announce_progress("starting nats-server")
    async with EmbeddedServer(broker_options(mesh, site)) as server:
        is_alone = mesh.broker.cluster is None
        announce_progress("making the streams" if is_alone else "waiting for the other servers")
        findings = await unless(stop, _establish(mesh, server, _AT_ONCE if is_alone else _FOR_A_MAJORITY))
        if findings is None:
            return
        detail = f"{server.url}, {len(findings)} streams and consumers ({_changes(findings)})"
        click.echo(server.url)
        announce_ready(detail, url=server.url)
        await _look_after(mesh, site, server, stop)


def _changes(findings: list[Finding]) -> str:
    made = sum(finding.action in (Action.CREATED, Action.UPDATED) for finding in findings)
    kept = sum(finding.action is Action.KEPT for finding in findings)
    return f"{made} new or changed" + (f", {kept} not as set: see `ig3 streams check`" if kept else "")


async def _look_after(mesh: MeshSettings, site: SiteSettings, server: EmbeddedServer, stop: asyncio.Event) -> None:
    async with await Bus.connect(_bus_options(mesh, server)) as bus:
        telling = tell_store(bus.core, token(mesh.server_name), lambda: server.store.shortage)
        renewing = follow_certificates(server, mesh.nats_tls)
        await unless(stop, _together(telling, renewing, follow_sites(mesh, site, server, bus)))


async def _together(*works: Coroutine[object, object, None]) -> None:
    await asyncio.gather(*works)


def _bus_options(mesh: MeshSettings, server: EmbeddedServer) -> BusOptions:
    return BusOptions(
        servers=(server.url,),
        tls=mesh.nats_tls,
        name=f"broker-{mesh.server_name}",
        edge_seed=server.credentials.edge_service.seed_path,
        core_seed=server.credentials.core_service.seed_path,
        results_streams=mesh.results_streams,
    )


async def _establish(mesh: MeshSettings, server: EmbeddedServer, patience: timedelta) -> list[Finding]:
    async with await Bus.connect(_bus_options(mesh, server)) as bus:
        return await provision(bus.links, mesh.streams, consumer_specs(), patience=patience)
