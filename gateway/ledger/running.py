"""A ledger as a process of its own: from its connection to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.ledger.service import Ledger
from mesh.bus.service_bus import Bus
from mesh.history.snapshots import SNAPSHOTS, SnapshotStore
from mesh.processes.bus_options import bus_options, instance_name
from mesh.processes.readiness import announce_progress, announce_ready
from mesh.telemetry.opening import open_telemetry

if TYPE_CHECKING:
    import asyncio

    from gateway.ledger.settings import LedgerSettings
    from mesh.config.settings import MeshSettings


async def serve(mesh: MeshSettings, settings: LedgerSettings, stop: asyncio.Event) -> None:
    """Run a ledger until ``stop`` is set.

    Raises:
        MeshError: if the bus cannot be reached or is not provisioned.
    """
    announce_progress("connecting to the bus")
    options = bus_options(mesh, instance_name("ledger"))
    telemetry = open_telemetry("ig3-ledger", otlp_endpoint=mesh.otlp_endpoint)
    async with await Bus.connect(options) as bus:
        announce_progress("reading the books")
        ledger = Ledger(bus.core, settings, snapshots=SnapshotStore(mesh.data_dir / SNAPSHOTS), telemetry=telemetry)
        await ledger.start()
        announce_ready(f"{options.name} keeps the books")
        await stop.wait()
        await ledger.stop()
    telemetry.close()
