"""``ig3 dispatcher``: places tasks on nodes and ends them; keeps the register of nodes and their models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click
from msgspec import structs

from gateway.dispatcher.entrance import Entrance
from gateway.dispatcher.holds import Holds
from gateway.dispatcher.service import Dispatcher
from gateway.dispatcher.settings import DispatcherSettings
from gateway.groups.registry import GroupRegistry
from gateway.limits.open_limiter import open_limiter
from gateway.limits.reads import Reads
from gateway.models.demand import Pace
from gateway.models.desk import ModelDesk
from gateway.models.placer import ModelPlacer
from gateway.projections import projection_desk
from gateway.roster.backlog_feed import BacklogFeed
from gateway.roster.feed import RosterFeed
from gateway.roster.registry import Registry
from gateway.settings import GatewaySettings
from mesh.access.feed import AccessFeed
from mesh.access.session_keys import SessionKeys
from mesh.broker.credentials import Credentials
from mesh.bus.departures import Departures
from mesh.bus.dialing import LinkOptions
from mesh.bus.service_bus import Bus, BusOptions
from mesh.config.options import only, settings_options
from mesh.config.settings import MeshSettings
from mesh.history.snapshots import SNAPSHOTS, SnapshotStore
from mesh.processes.bus_options import bus_options, instance_name
from mesh.processes.process import run_process
from mesh.processes.readiness import announce_progress, announce_ready
from mesh.telemetry.opening import open_telemetry

if TYPE_CHECKING:
    import asyncio

    from mesh.broker.credentials import Credential
_EXAMPLES: Final = """\b
Examples:
  ig3 dispatcher                         # one more, to share the work of those that run
  ig3 dispatcher --nats 10.0.0.5:4222    # on another machine than the broker
  ig3 dispatcher --deadline 2m           # give up sooner on tasks that say no time
"""


@click.command(epilog=_EXAMPLES)
@settings_options(
    mesh=only(
        MeshSettings, "nats", "data_dir", "results_streams", "retention", "otlp_endpoint", "log_level", "log_format"
    ),
    dispatcher=DispatcherSettings,
    gateway=only(
        GatewaySettings,
        *("requests_per_minute", "requests_per_minute_of", "tokens_per_minute", "tokens_per_minute_of"),
        *("concurrent_streams", "concurrent_streams_of", "answer_tokens", "limits_store", "redis_url"),
        *("most_output_tokens", "most_output_tokens_of", "most_seconds", "most_seconds_of"),
        *("reads_per_minute", "reads_per_minute_of"),
    ),
)
def dispatcher(mesh: MeshSettings, dispatcher: DispatcherSettings, gateway: GatewaySettings) -> None:
    """Place tasks on nodes and see each of them to its one end.

    Any number of dispatchers share the work; when one dies, its tasks move to another within seconds.
    """

    async def main(stop: asyncio.Event) -> None:
        await serve(mesh, dispatcher, gateway, stop)

    run_process("dispatcher", mesh, main)


async def serve(mesh: MeshSettings, settings: DispatcherSettings, limits: GatewaySettings, stop: asyncio.Event) -> None:
    """Run a dispatcher and a registry until ``stop`` is set; ``limits`` are those of the gateways.

    Raises:
        MeshError: if the bus cannot be reached or is not provisioned.
        GatewayError: if the store of limits cannot be used.
    """
    announce_progress("connecting to the bus")
    options = bus_options(mesh, instance_name("dispatcher"))
    (system,) = Credentials.load_some(mesh.data_dir, "system")
    telemetry = open_telemetry("ig3-dispatcher", otlp_endpoint=mesh.otlp_endpoint)
    # Chunks of models are long: on a connection of their own they delay nobody's answer.
    for_models = structs.replace(options, name=f"{options.name}-models")
    async with (
        await Bus.connect(options) as bus,
        await Bus.connect(for_models) as models_bus,
        await Departures.connect(_system(options, system)) as departures,
    ):
        snapshots = SnapshotStore(mesh.data_dir / SNAPSHOTS)
        feed, access = RosterFeed(bus, snapshots), AccessFeed(bus.core, snapshots)
        holds = Holds(bus.core, feed, settings.alias_table, patience=settings.ledger_patience)
        dispatcher = Dispatcher(
            bus,
            feed,
            settings,
            entrance=_entrance(mesh, bus, access, limits, holds),
            retention=mesh.retention,
            telemetry=telemetry,
            snapshots=snapshots,
        )
        groups = GroupRegistry(bus, feed, snapshots)
        told = (dispatcher.devices.told, dispatcher.regards.told, access.told, groups.log.told)
        desk = projection_desk(bus, feed, dispatcher.lives, folds=told)
        pace = Pace(up=settings.scale_up_after, down=settings.scale_down_after, to_zero=settings.scale_to_zero_after)
        placer = ModelPlacer(bus, feed, BacklogFeed(bus.core), pace)
        registries = (Registry(bus, feed, departures), groups)
        parts = (feed, access, *registries, ModelDesk(models_bus), dispatcher, placer, desk)
        for part in parts:
            await part.start()
        announce_ready(f"{options.name} takes tasks")
        await stop.wait()
        for part in reversed(parts):
            await part.stop()
    telemetry.close()


def _entrance(mesh: MeshSettings, bus: Bus, access: AccessFeed, limits: GatewaySettings, holds: Holds) -> Entrance:
    sessions = SessionKeys.load_or_create(mesh.data_dir)
    limiter = open_limiter(bus.core, limits)
    bounds = limits.bound_rules
    reads = Reads(limits.reads_per_minute, limits.read_limits)
    return Entrance(access, limiter, sessions, holds, answer_tokens=limits.answer_tokens, bounds=bounds, reads=reads)


def _system(options: BusOptions, system: Credential) -> LinkOptions:
    return LinkOptions(
        servers=options.servers,
        tls=options.tls,
        name=f"service:{options.name}",
        inbox_prefix=f"_INBOX.svc.{options.name}",
        seed_file=system.seed_path,
    )
