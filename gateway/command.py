"""``ig3 gateway``: serves the OpenAI API, the websocket and the live page."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING

import click

from gateway.dispatcher.settings import DispatcherSettings
from gateway.settings import GatewaySettings
from mesh.bus import BusOptions
from mesh.config_options import only, settings_options
from mesh.credentials import Credentials
from mesh.process import run_process
from mesh.settings import MeshSettings

if TYPE_CHECKING:
    import asyncio


@click.command()
@settings_options(
    mesh=only(
        MeshSettings,
        *("nats", "data_dir", "account", "results_streams", "retention"),
        *("metrics", "otlp_endpoint", "log_level", "log_format"),
    ),
    gateway=GatewaySettings,
    dispatcher=only(DispatcherSettings, "deadline", "known_models"),
)
def gateway(mesh: MeshSettings, gateway: GatewaySettings, dispatcher: DispatcherSettings) -> None:
    """Serve the OpenAI API, the websocket and the live page.

    Any number of gateways serve the same mesh: each can go on with any answer that another began. Asked to stop, it
    takes no more requests and lets running answers end for as long as --http-stop-timeout says.
    """

    async def main(stop: asyncio.Event) -> None:
        await serve(mesh, gateway, dispatcher, stop)

    run_process("gateway", mesh, main)


async def serve(mesh: MeshSettings, settings: GatewaySettings, tasks: DispatcherSettings, stop: asyncio.Event) -> None:
    """Run a gateway until ``stop`` is set.

    Raises:
        MeshError: if the bus cannot be reached, or HTTP cannot be served where it should be.
    """
    # Loaded here, so that `ig3 gateway --help` does not wait for aiohttp.
    from gateway.http.app import build_app
    from gateway.http.server import HttpServer
    from gateway.roster_feed import RosterFeed
    from gateway.user_api import UserApi
    from mesh.bus import Bus
    from mesh.readiness import announce_progress, announce_ready
    from streams.tokens import token

    announce_progress("connecting to the bus")
    async with await Bus.connect(_bus_options(mesh)) as bus:
        feed, user_api = RosterFeed(bus), UserApi(bus)
        await bus.feed.start()
        await feed.start()
        await user_api.start()
        app = build_app(bus, feed, settings, account=token(mesh.account), retention=mesh.retention, tasks=tasks)
        async with HttpServer(app, settings) as server:
            # What is loaded now stays: a collector that never walks it again pauses streams for less long.
            gc.collect()
            gc.freeze()
            announce_ready(server.address.http_url, url=server.address.http_url)
            await stop.wait()
        await user_api.stop()
        await feed.stop()


def _bus_options(mesh: MeshSettings) -> BusOptions:
    credentials = Credentials.load(mesh.data_dir)
    return BusOptions(
        servers=mesh.nats_urls,
        name=f"gateway-{os.getpid()}-{os.urandom(2).hex()}",
        edge_seed=credentials.edge_service.seed_path,
        core_seed=credentials.core_service.seed_path,
        results_streams=mesh.results_streams,
    )
