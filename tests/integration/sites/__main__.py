"""A site and its hub under random faults for as long as one likes; then every event is compared.

    .venv/bin/python -m tests.integration.sites --seed 7 --seconds 120

Tasks are stored at the site all the time, while the line is cut, worn out in the middle of messages, and either broker
is killed. At the end the site loses its store, and is copied from its new beginning.
"""

import argparse
import asyncio
import contextlib
import random
import shutil
import tempfile
import time
from pathlib import Path

from mesh.bus.service_bus import Bus
from mesh.errors import BusError
from tests.integration.sites.linked import (
    Pair,
    assert_same,
    content,
    eventually,
    held,
    live_a_life,
    make_pair,
    new_key,
    wait_for_copies,
)
from tests.integration.sites.uplink_line import UplinkLine


async def campaign(folder: Path, seed: int, seconds: float) -> None:
    """Do all of it and print what was seen."""
    pair, rng = make_pair(folder), random.Random(seed)
    with pair.hub.as_hub(), pair.site.server:
        await pair.site.provision()
        await pair.hub.provision()
        async with UplinkLine(pair.line, pair.door) as line:
            async with await pair.site.bus("writer") as site:
                writer = asyncio.create_task(_write(site, rng))
                faults = await _break_things(pair, line, rng, seconds)
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)
                await _compare(pair, site, faults)
            await _lose_the_store(pair)


async def _write(site: Bus, rng: random.Random) -> None:
    while True:
        # Whether it was stored is unknown: it is the same at the hub then.
        with contextlib.suppress(BusError):
            await live_a_life(site, new_key(), chunks=rng.randint(1, 20))
        await asyncio.sleep(rng.random() * 0.05)


async def _break_things(pair: Pair, line: UplinkLine, rng: random.Random, seconds: float) -> list[str]:
    until, done = time.monotonic() + seconds, list[str]()
    while time.monotonic() < until:
        fault, pause_s = rng.choice(["cut", "cut", "wear", "wear", "hub", "site"]), rng.choice([0.05, 0.5, 2, 6, 11])
        done.append(f"{fault} {pause_s}")
        if fault == "cut":
            await line.down()
            await asyncio.sleep(pause_s)
            await line.up()
        elif fault == "wear":
            line.wear(*(rng.randint(100, 30_000) for _ in range(rng.randint(1, 6))))
        else:
            server = (pair.hub if fault == "hub" else pair.site).server
            await asyncio.to_thread(server.kill)
            await asyncio.sleep(pause_s if fault == "hub" else 0)
            await asyncio.to_thread(server.start)
        await asyncio.sleep(rng.choice([0.1, 1, 3, 7]))
    line.wear()
    return done


async def _compare(pair: Pair, site: Bus, faults: list[str]) -> None:
    began = time.monotonic()
    async with await pair.hub.bus("reader") as hub:
        await wait_for_copies(hub, site, pair.name)
        took_s = time.monotonic() - began
        events = await assert_same(hub, site, pair.name)
    print(f"{len(faults)} faults ({', '.join(faults)}): {events} events, each once and in order, {took_s:.0f} s later")


async def _lose_the_store(pair: Pair) -> None:
    await asyncio.to_thread(pair.site.server.kill)
    shutil.rmtree(pair.site.mesh.data_dir / "jetstream")
    await asyncio.to_thread(pair.site.server.start)
    await pair.site.provision()
    began = time.monotonic()
    async with await pair.site.bus("again") as site, await pair.hub.bus("again") as hub:
        await live_a_life(site, new_key("afresh"), chunks=2)
        new = content(await held(site, "CORE", "ENDED"))

        async def arrived() -> bool:
            return content(await held(hub, "CORE", "SITE_berlin_ENDED"))[-len(new) :] == new

        await eventually(arrived)
    print(f"a site without its store is copied from its new beginning, {time.monotonic() - began:.0f} s later")


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--seconds", type=float, default=120)
    given = parser.parse_args()
    print(f"seed {given.seed}")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(campaign(Path(folder), given.seed, given.seconds))


if __name__ == "__main__":
    main()
