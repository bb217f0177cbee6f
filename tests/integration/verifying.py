"""What tests of `ig3 events verify` do alike."""

from mesh.history.snapshots import SnapshotStore
from mesh.inspection.findings import Report
from mesh.inspection.verify import verify
from streams import subjects
from streams.codec import encode
from streams.events import (
    DeviceRegistered,
    ModelAnnounced,
)
from streams.replica import Replica
from streams.tokens import token
from streams.topology import stream_specs
from tests.mesh_in_process import InProcessMesh


async def report_on(mesh: InProcessMesh, store: SnapshotStore) -> Report:
    return await verify(mesh.bus, stream_specs(), store)


def named(report: Report) -> list[str]:
    return sorted(f"{one.projection}: {one.where}: {one.detail}" for one in report.differences)


async def announce(mesh: InProcessMesh, count: int, name: str = "n") -> None:
    for number in range(count):
        node = token(f"{name}{number}")
        replica = Replica(model=f"m{number % 3}", engine="synthetic", context_tokens=8, slots=1)
        await mesh.bus.core.append(
            subjects.model(node, replica.model), encode(ModelAnnounced(at_ms=number, node=node, replica=replica))
        )
        event = DeviceRegistered(at_ms=number, node=node, software="s")
        await mesh.bus.core.append(subjects.device(node, "registered"), encode(event))
