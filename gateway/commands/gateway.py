"""``ig3 gateway``: serves the OpenAI API, the websocket and the live page."""

from __future__ import annotations

import gc
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

import click

from gateway.dispatcher.settings import DispatcherSettings
from gateway.errors import GatewayError
from gateway.limits.reads import Reads
from gateway.projections import projection_desk
from gateway.roster.backlog_feed import BacklogFeed
from gateway.roster.feed import RosterFeed
from gateway.settings import GatewaySettings
from gateway.user_api import UserApi
from mesh.access.feed import AccessFeed
from mesh.access.session_keys import SessionKeys
from mesh.bus.service_bus import Bus
from mesh.config.options import only, settings_options
from mesh.config.settings import MeshSettings
from mesh.history.snapshots import SNAPSHOTS, SnapshotStore
from mesh.processes.bus_options import bus_options, instance_name
from mesh.processes.process import run_process
from mesh.processes.readiness import announce_progress, announce_ready
from mesh.telemetry.opening import open_telemetry
from streams.tokens import token

if TYPE_CHECKING:
    import asyncio

    from aiohttp import web

    from gateway.http.metrics_page import MetricsPage
    from gateway.rpc.server import RpcServer

_EXAMPLES: Final = """\b
Examples:
  ig3 gateway --http :9090              # a second gateway on this machine
  ig3 gateway --nats 10.0.0.5:4222      # on another machine than the broker
  ig3 gateway --on-disconnect cancel    # do not finish what nobody waits for
  ig3 gateway --grpc :50051             # serve gRPC as well
"""


@click.command(epilog=_EXAMPLES)
@settings_options(
    mesh=only(
        MeshSettings,
        *("nats", "data_dir", "account", "results_streams", "retention"),
        *("metrics", "otlp_endpoint", "log_level", "log_format"),
    ),
    gateway=GatewaySettings,
    dispatcher=only(DispatcherSettings, "deadline", "known_models", "aliases"),
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
    from gateway.auth.caller import refuse_open_gateway
    from gateway.http.app import build_app
    from gateway.http.server import HttpServer

    refuse_open_gateway(settings)
    announce_progress("connecting to the bus")
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(await Bus.connect(bus_options(mesh, instance_name("gateway"))))
        snapshots = SnapshotStore(mesh.data_dir / SNAPSHOTS)
        feed, access = RosterFeed(bus, snapshots), AccessFeed(bus.core, snapshots)
        user_api = UserApi(bus, Reads(settings.reads_per_minute, settings.read_limits))
        await bus.follow()
        for part in (feed, access, user_api, projection_desk(bus, feed, folds=(access.told,))):
            await part.start()
            stack.push_async_callback(part.stop)
        metrics = await _metrics_page(mesh, bus, feed, stack)
        readers = () if metrics is None else (metrics.reader,)
        telemetry = open_telemetry("ig3-gateway", otlp_endpoint=mesh.otlp_endpoint, metric_readers=readers)
        stack.callback(telemetry.close)
        app = build_app(
            bus,
            feed,
            settings,
            access=access,
            sessions=SessionKeys.load_or_create(mesh.data_dir),
            account=token(mesh.account),
            retention=mesh.retention,
            tasks=tasks,
            telemetry=telemetry,
            metrics=metrics,
        )
        server = await stack.enter_async_context(HttpServer(app, settings))
        if settings.grpc is not None:
            await stack.enter_async_context(_rpc_server(app, settings.grpc))
        # What is loaded now stays: a collector that never walks it again pauses streams for less long.
        gc.collect()
        gc.freeze()
        announce_ready(
            server.url,
            url=server.url,
            needs_key=settings.auth == "required",
            needs_certificate=settings.http_tls_ca is not None,
        )
        await stop.wait()


async def _metrics_page(mesh: MeshSettings, bus: Bus, feed: RosterFeed, stack: AsyncExitStack) -> MetricsPage | None:
    if not mesh.metrics:
        return None
    from gateway.http.metrics_page import MetricsPage
    from gateway.http.model_metrics import ModelMetrics

    backlog = BacklogFeed(bus.core)
    await backlog.start()
    stack.push_async_callback(backlog.stop)
    return MetricsPage(ModelMetrics(feed, backlog))


def _rpc_server(app: web.Application, place: str) -> RpcServer:
    """Make the server of the gRPC API.

    Raises:
        GatewayError: if its packages are not installed.
    """
    from gateway.http.site import SITE

    try:
        from gateway.rpc.server import RpcServer
    except ModuleNotFoundError as error:
        remedy = "install the extra: make extras EXTRAS=grpc"
        raise GatewayError(f"gRPC is to be served at {place}, and {error.name} is not there: {remedy}") from error
    return RpcServer(app[SITE], place)
