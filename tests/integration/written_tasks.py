"""What a test writes straight into the streams, right or wrong, and what `ig3 events verify` says of it."""

from msgspec.structs import replace

from mesh.history.snapshots import SnapshotStore
from mesh.inspection.findings import Report
from mesh.inspection.verify import verify
from streams import subjects
from streams.codec import encode
from streams.devices.replica import Replica
from streams.events import (
    AttemptShare,
    DeadKept,
    DeviceRegistered,
    ModelAnnounced,
    TaskAssigned,
    TaskChunk,
    TaskCompleted,
    TaskDead,
    TaskEnded,
    TaskError,
    TaskEvent,
)
from streams.subjects import MESH, TaskKey
from streams.tasks.chat import Usage
from streams.tokens import token
from streams.topology import stream_specs
from tests.mesh_in_process import InProcessMesh

NODE = token("n1")
USAGE = Usage(prompt_tokens=1, completion_tokens=2)
SHARES = (AttemptShare(attempt=1, node=NODE, chars=7, tokens=2),)


async def report_on(mesh: InProcessMesh, store: SnapshotStore) -> Report:
    return await verify(mesh.bus, stream_specs(), store)


def named(report: Report) -> list[str]:
    return sorted(f"{one.projection}: {one.where}: {one.detail}" for one in report.differences)


async def write(mesh: InProcessMesh, key: TaskKey, event: TaskEvent, writer: str = MESH) -> None:
    await mesh.bus.edge.append(subjects.result(key, token(writer)), encode(event))


async def written(mesh: InProcessMesh, *, end: bool = True) -> TaskKey:
    """A task as it should be: assigned, two chunks, and an end with its marker."""
    key = mesh.key()
    await write(mesh, key, TaskAssigned(n=1, at_ms=1, attempt=1, node=NODE, policy="p"))
    await write(mesh, key, TaskChunk(n=2, attempt=1, offset=0, text="one ", tokens=1), NODE)
    last = TaskChunk(n=3, attempt=1, offset=4, text="two", tokens=1, finish_reason="stop", usage=USAGE)
    await write(mesh, key, last, NODE)
    if end:
        await mesh.bus.core.append(subjects.ended(key), encode(completed()))
        await write(mesh, key, TaskEnded(n=4, at_ms=1, outcome="completed"))
    return key


def completed(**other: object) -> TaskCompleted:
    fields = {"at_ms": 1, "model": "m", "final_n": 3, "finish_reason": "stop", "usage": USAGE, "shares": SHARES}
    return TaskCompleted(**{**fields, **other})  # type: ignore[arg-type]  # what a test changes


ERROR = TaskError(code="attempts_exhausted", message="5 attempts", status=502)
DIED = TaskDead(at_ms=1, model="m", final_n=0, error=ERROR, failures=())


async def keep(mesh: InProcessMesh, key: TaskKey, end: TaskDead, **other: object) -> None:
    letter = DeadKept(at_ms=end.at_ms, model=end.model, error=end.error)
    await mesh.bus.core.append(subjects.dead(key), encode(replace(letter, **other)))


async def announce(mesh: InProcessMesh, count: int, name: str = "n") -> None:
    for number in range(count):
        node = token(f"{name}{number}")
        replica = Replica(model=f"m{number % 3}", engine="synthetic", context_tokens=8, slots=1)
        await mesh.bus.core.append(
            subjects.model(node, replica.model), encode(ModelAnnounced(at_ms=number, node=node, replica=replica))
        )
        event = DeviceRegistered(at_ms=number, node=node, software="s")
        await mesh.bus.core.append(subjects.device(node, "registered"), encode(event))
