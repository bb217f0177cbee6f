"""How fast a model goes into the store, and from there onto a device.

``python -m benchmarks.model_store [--mib 256]``. A mesh of real processes on loopback: the push is what ``ig3 models
push`` does, the pull what a node does, with a node's rights. Beside it nats-py's own ``get`` of the same object.
"""

import asyncio
import hashlib
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

import click

from benchmarks.measured import cost_of
from benchmarks.running_mesh import RunningMesh, running_mesh
from mesh.broker.credentials import Credentials
from mesh.bus.dialing import LinkOptions
from mesh.bus.link import Link
from mesh.bus.service_bus import Bus, BusOptions
from mesh.identity.device_login import DeviceLogin
from mesh.identity.key_file import device_key
from mesh.models.objects import BUCKET
from mesh.models.push import Push
from mesh.models.store import ModelStore
from nodes.models.cache import ModelCache
from nodes.models.pull import ModelPuller
from streams import subjects
from streams.models.store import StoredModel
from streams.tokens import Token
from tests.unit.gguf_files import VALUES, gguf, tensor

MIB = 1024 * 1024
ROUNDS = 3
NAME = "bench"
NODE = Token("bench-1")


@click.command()
@click.option("--mib", default=256, help="Size of the model.")
@click.option("--durability", default="power", help="As of `ig3 broker`.")
@click.option("--plain/--no-plain", default=False, help="Whether nats-py's own get is measured too.")
def main(mib: int, durability: str, plain: bool) -> None:
    """Run and print."""
    with tempfile.TemporaryDirectory(prefix="ig3-bench-") as folder, running_mesh(durability=durability) as mesh:
        asyncio.run(_run(Path(folder), mesh, mib * MIB, plain))


async def _run(folder: Path, mesh: RunningMesh, size: int, plain: bool) -> None:
    file = folder / "bench.gguf"
    weights = size // 4
    empty = gguf(VALUES, (tensor("t", (weights,), 0, 0),), 0)
    file.write_bytes(empty + bytes(-len(empty) % 32) + os.urandom(weights * 4))
    pushes, pulls = list[float](), list[float]()
    credentials = Credentials.load(mesh.data_dir)
    options = BusOptions(
        servers=(mesh.nats_url,),
        name="bench",
        edge_seed=credentials.edge_service.seed_path,
        core_seed=credentials.core_service.seed_path,
    )
    async with await Bus.connect(options) as bus:
        store = ModelStore(bus.core)
        await store.make(1)
        for number in range(ROUNDS):
            with file.open("r+b") as changed:
                changed.seek(-8, os.SEEK_END)
                changed.write(number.to_bytes(8, "little"))
            with file.open("rb") as whole:
                digest = hashlib.file_digest(whole, "sha256").hexdigest()
            model = StoredModel(name=NAME, sha256=digest, size_bytes=file.stat().st_size)
            pushes.append(await _timed(lambda model=model: Push(store, model, file).run(lambda _: None)))
            pulls.append(await _pull(mesh, folder / str(number)))
        if plain:
            print(f"nats-py get: {file.stat().st_size / MIB / await _timed(lambda: _plain(bus)):.0f} MiB/s")
    mib = file.stat().st_size / MIB
    print(
        f"{mib:.0f} MiB; push {mib / median(pushes):.0f} MiB/s {pushes}; pull {mib / median(pulls):.0f} MiB/s {pulls}"
    )


async def _pull(mesh: RunningMesh, folder: Path) -> float:
    own = device_key(mesh.data_dir, NODE)
    link = await Link.connect(
        LinkOptions(
            servers=(mesh.nats_url,),
            name=subjects.node_connection(NODE),
            inbox_prefix=subjects.node_inbox_prefix(NODE),
            login=DeviceLogin(own.did, own.key, NODE),
        )
    )
    try:
        puller = ModelPuller(link, NODE, ModelCache(folder, 10**12))
        before = cost_of([*mesh.served_by, os.getpid()]).cpu_s
        took = await _timed(lambda: puller.pull(NAME, lambda _: None))
        cpu_s = cost_of([*mesh.served_by, os.getpid()]).cpu_s - before
        print(f"pulled in {took:.2f} s; CPU of all together {cpu_s:.2f} s")
        return took
    finally:
        await link.close()


async def _plain(bus: Bus) -> None:
    store = await bus.core.client.jetstream().object_store(BUCKET)
    await store.get(NAME)


async def _timed(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
