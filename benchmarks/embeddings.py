"""How fast texts become vectors through a mesh, against the bare engine: ``python -m benchmarks.embeddings``.

A mesh of real processes with minilm, and the same engine in this process, by turns. Both get the same passages: the
engine as the node asks it, a few at a time, the mesh as one task. By the clock, which other work on the machine shares,
by processor time of everything that takes part, and by that without what the mesh's processes cost while time passes,
which is measured before: on a busy machine a task lasts longer, and costs more of it.
"""

import argparse
import asyncio
import os
import random
import time
from http import HTTPStatus
from statistics import median
from typing import NamedTuple

import aiohttp

import mesh as mesh_client
from benchmarks.measured import cost_of
from benchmarks.running_mesh import RunningMesh, running_mesh
from mesh.client.client import Client
from nodes.attempts.vector_work import TEXTS_AT_ONCE
from nodes.embedding import Embed, EmbeddingEngine, EmbeddingSpec
from nodes.engines.embedding import open_embedding_engine

MODEL = "all-minilm-l6-v2"
WORDS = """
water stone river light morning market engine window garden letter summer winter teacher harbour signal music bridge
forest silver paper machine travel doctor kitchen history number island mountain village question answer
"""
IDLE_S = 20.0


class Took(NamedTuple):
    """One run of all passages."""

    clock_s: float
    cpu_s: float


def main() -> None:
    """Measure and print."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--passages", type=int, default=1000)
    asked.add_argument("--words", type=int, default=24, help="in each passage")
    asked.add_argument("--rounds", type=int, default=3)
    options = asked.parse_args()
    dice = random.Random(7)
    passages = tuple(" ".join(dice.choices(WORDS.split(), k=options.words)) for _ in range(options.passages))
    with running_mesh(durability="power", embedding_model=MODEL) as running:
        asyncio.run(_measure(running, passages, options.rounds))


async def _measure(running: RunningMesh, passages: tuple[str, ...], rounds: int) -> None:
    engine = open_embedding_engine(EmbeddingSpec())
    await engine.start()
    bare: list[Took] = []
    through: list[Took] = []
    async with await mesh_client.connect(
        running.nats_url, seed_file=running.data_dir / "credentials" / "user.nk"
    ) as client:
        await _served(running)
        await client.embed(passages[:TEXTS_AT_ONCE], model=MODEL)
        idle = await _idle(running)
        print(f"while nothing is asked: {1000 * idle:.1f} ms of CPU a second", flush=True)
        for number in range(rounds):
            # By turns, and each first in every other round: what else the machine does changes meanwhile.
            for is_bare in (number % 2 == 0, number % 2 == 1):
                if is_bare:
                    bare.append(await _bare(engine, passages))
                else:
                    through.append(await _through(client, running, passages))
            print(
                f"round {number + 1}: bare {_told(bare[-1], passages)}, mesh {_told(through[-1], passages)}", flush=True
            )
    await engine.stop()
    for what, of in (("by the clock", 0), ("by processor time", 1)):
        ratios = [one[of] / other[of] for one, other in zip(bare, through, strict=True)]
        print(f"rate of the bare engine that the mesh reaches {what}: {100 * median(ratios):.0f} % (median)")
    net = [one.cpu_s / (other.cpu_s - idle * other.clock_s) for one, other in zip(bare, through, strict=True)]
    print(f"rate of the bare engine that the mesh reaches without what passing time costs: {100 * median(net):.0f} %")


async def _served(running: RunningMesh) -> None:
    """Wait until the node has announced the model: a gateway is ready before that."""
    url = f"http://127.0.0.1:{running.http_port}/v1/models/{MODEL}"
    async with aiohttp.ClientSession() as session:
        for _ in range(600):
            async with session.get(url) as answer:
                if answer.status == HTTPStatus.OK:
                    return
            await asyncio.sleep(0.1)
    raise RuntimeError("no node serves the model")


async def _idle(running: RunningMesh) -> float:
    """What the mesh costs a second while nothing is asked."""
    pids = [*running.pids.values(), os.getpid()]
    cost = cost_of(pids)
    await asyncio.sleep(IDLE_S)
    return (cost_of(pids).cpu_s - cost.cpu_s) / IDLE_S


async def _bare(engine: EmbeddingEngine, passages: tuple[str, ...]) -> Took:
    begun_s, cpu_s = time.monotonic(), time.process_time()
    for at in range(0, len(passages), TEXTS_AT_ONCE):
        await engine.embed(Embed(texts=passages[at : at + TEXTS_AT_ONCE]))
    return Took(time.monotonic() - begun_s, time.process_time() - cpu_s)


async def _through(client: Client, running: RunningMesh, passages: tuple[str, ...]) -> Took:
    pids = [*running.pids.values(), os.getpid()]
    begun_s, cost = time.monotonic(), cost_of(pids)
    found = await client.embed(passages, model=MODEL)
    took = Took(time.monotonic() - begun_s, cost_of(pids).cpu_s - cost.cpu_s)
    if len(found.vectors) != len(passages):
        raise RuntimeError(f"the mesh gave {len(found.vectors)} vectors for {len(passages)} passages")
    return took


def _told(took: Took, passages: tuple[str, ...]) -> str:
    return f"{len(passages) / took.clock_s:.1f}/s ({1000 * took.cpu_s / len(passages):.1f} ms of CPU each)"


if __name__ == "__main__":
    main()
