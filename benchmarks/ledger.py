"""What the ledger does in a second: holds, tasks settled, how late it is, and how long it takes to verify the books.

``python -m benchmarks.ledger``; ``--kills N`` kills a ledger process N times under load (``kill -9``).
"""

import asyncio
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median, quantiles

import click

from gateway.ledger.verifying import verify
from mesh.bus.link import Link
from mesh.errors import BusError
from mesh.history.snapshots import SNAPSHOTS, SnapshotStore
from mesh.processes.child import own_command
from streams.billing.events import HoldTerms, LedgerPosted, Posting, Transaction, Used
from streams.billing.messages import Held
from streams.billing.subjects import account_chain
from streams.clock import now_ms
from streams.codec import encode
from streams.ledger.fold import digest_of_body
from streams.subjects import TaskKey
from streams.tasks.task_id import new_task_id
from streams.tokens import Token
from tests.books import (
    RunningLedger,
    ask_hold,
    completed,
    end,
    key_of,
    paid_in,
    priced,
    running_ledger,
    start_ledger,
    stored_on,
    transactions_of,
)
from tests.mesh_in_process import InProcessMesh
from tests.processes import until

ACCOUNTS = tuple(Token(f"bench-{number}") for number in range(50))
MANY = 20_000
AT_ONCE = 400
PER_EVENT = 400
PER_S, LAG_S = 200, 15


@click.command()
@click.option("--entries", default=1_000_000, help="Entries of the books that are verified.")
@click.option("--no-speed", is_flag=True, help="Only the verifying, and the kills.")
@click.option("--kills", default=0, help="How often a ledger process is killed under load.")
def main(entries: int, no_speed: bool, kills: int) -> None:
    """Run everything and print it."""
    asyncio.run(_run(entries, kills, has_speed=not no_speed))


async def _run(entries: int, kills: int, *, has_speed: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        if has_speed:
            async with _mesh(Path(folder) / "speed") as mesh:
                await _speed(mesh)
        if kills:
            async with _mesh(Path(folder) / "kills") as mesh:
                await _kills(mesh, kills)
        async with _mesh(Path(folder) / "verify") as mesh:
            await _verify(mesh, entries)


@asynccontextmanager
async def _mesh(folder: Path) -> AsyncIterator[InProcessMesh]:
    async with InProcessMesh(folder=folder) as mesh:
        await priced(mesh.bus.core)
        for account in ACCOUNTS:
            await paid_in(mesh.bus.core, account, units=1000)
        yield mesh


async def _speed(mesh: InProcessMesh) -> None:
    core = mesh.bus.core
    async with running_ledger(mesh):
        waits: list[float] = []
        for _ in range(500):
            began = time.perf_counter()
            await ask_hold(core, key_of(ACCOUNTS[0]), prompt=10, completion=20)
            waits.append(time.perf_counter() - began)
        click.echo(f"a hold, one at a time: p50 {median(waits) * 1000:.2f} ms, p99 {_p99(waits) * 1000:.2f} ms")
        keys = [key_of(ACCOUNTS[number % len(ACCOUNTS)]) for number in range(MANY)]
        began = time.perf_counter()
        for some in _pieces(keys, AT_ONCE):
            await asyncio.gather(*(ask_hold(core, key, prompt=10, completion=20) for key in some))
        click.echo(f"holds, {AT_ONCE} at once, {len(ACCOUNTS)} accounts: {MANY / (time.perf_counter() - began):,.0f}/s")
    for some in _pieces(keys, AT_ONCE):
        await asyncio.gather(*(end(core, key, completed()) for key in some))
    began = time.perf_counter()
    async with running_ledger(mesh) as ledger:
        await _settled(ledger, keys)
        click.echo(f"settled by one ledger, {MANY:,} that waited: {MANY / (time.perf_counter() - began):,.0f}/s")
        await _lag(core, ledger)


async def _lag(core: Link, ledger: RunningLedger) -> None:
    keys: list[TaskKey] = []
    ended: dict[str, int] = {}
    began = time.perf_counter()
    while len(keys) < PER_S * LAG_S:
        key = key_of(ACCOUNTS[len(keys) % len(ACCOUNTS)])
        keys.append(key)
        await asyncio.sleep(max(0, began + len(keys) / PER_S - time.perf_counter()))
        await ask_hold(core, key, prompt=10, completion=20)
        ended[key.task] = now_ms()
        await end(core, key, completed())
    took = time.perf_counter() - began
    await _settled(ledger, keys)
    lags = [
        one.at_ms - ended[one.task]
        for account in ACCOUNTS
        for one in await transactions_of(core, account)
        if one.kind == "charge" and one.task in ended
    ]
    lag = f"p50 {median(lags):.0f} ms, p99 {_p99(lags):.0f} ms, max {max(lags)} ms"
    click.echo(f"from the end to the entry, {len(keys) / took:.0f} tasks/s: {lag}")


async def _settled(ledger: RunningLedger, keys: list[TaskKey]) -> None:
    chains = ledger.books.state.chains
    await until(lambda: all(chains[f"billing.{key.account}"].is_settled(key.task) for key in keys))


async def _kills(mesh: InProcessMesh, kills: int) -> None:
    over, core = asyncio.Event(), mesh.bus.core
    loads = [asyncio.create_task(_load(core, account, over)) for account in ACCOUNTS[:8]]
    variables = {**os.environ, "IG3_NATS": mesh.server.url, "IG3_DATA_DIR": str(mesh.folder)}
    for _ in range(kills):
        process = await asyncio.create_subprocess_exec(
            *own_command("ledger", "run"), env=variables, stderr=subprocess.DEVNULL
        )
        await asyncio.sleep(3)
        process.send_signal(signal.SIGKILL)
        await process.wait()
    over.set()
    last = await start_ledger(mesh)
    keys = [key for keys in await asyncio.gather(*loads) for key in keys]
    await _settled(last, keys)
    report = await verify(core, SnapshotStore(mesh.folder / SNAPSHOTS))
    click.echo(
        f"killed {kills} times: {len(keys):,} tasks, {report.charges_compared:,} charges equal to their ends, "
        f"{len(report.differences)} differences"
    )
    await last.stop()


async def _load(core: Link, account: Token, over: asyncio.Event) -> list[TaskKey]:
    keys: list[TaskKey] = []
    while not over.is_set():
        key = key_of(account)
        while True:
            try:
                if isinstance(await ask_hold(core, key, prompt=10, completion=20, timeout_s=1), Held):
                    break
            except BusError:
                await asyncio.sleep(0.05)
        await end(core, key, completed())
        keys.append(key)
    return keys


async def _verify(mesh: InProcessMesh, entries: int) -> None:
    core, snapshots = mesh.bus.core, SnapshotStore(mesh.folder / SNAPSHOTS)
    await asyncio.gather(*(_fill(core, account, entries // len(ACCOUNTS)) for account in ACCOUNTS))
    report = await verify(core, snapshots)
    click.echo(f"verified, {report.transactions:,} entries from the first event: {report.took_s:.1f} s")
    ledger = await start_ledger(mesh, snapshots)
    await ledger.books.save()
    await ledger.stop()
    report = await verify(core, snapshots, is_quick=True)
    click.echo(f"verified, {report.transactions:,} entries from the newest snapshot on: {report.took_s:.1f} s")


async def _fill(core: Link, account: Token, entries: int) -> None:
    """Write holds and charges in turn, as a ledger does, without the tasks that they would be of."""
    subject, tasks = account_chain(account).subject, list[Token]()
    previous = digest_of_body((await stored_on(core, subject))[-1])
    for kind, count in _events(entries):
        if kind == "hold":
            tasks = [new_task_id() for _ in range(count)]
        event = LedgerPosted(
            at_ms=now_ms(), previous=previous, transactions=tuple(_entry(kind, account, task) for task in tasks)
        )
        data, previous = encode(event), digest_of_body(encode(event))
        await core.append(subject, data)


def _events(entries: int) -> Iterator[tuple[str, int]]:
    for _ in range(max(1, entries // (2 * PER_EVENT))):
        yield "hold", PER_EVENT
        yield "charge", PER_EVENT


def _entry(kind: str, account: Token, task: str) -> Transaction:
    free, aside = f"user:{account}", f"held:{account}"
    if kind == "hold":
        moved = (Posting(account=free, amount_nano=-11), Posting(account=aside, amount_nano=11))
        terms = HoldTerms(price_version=1, model="m-small", prompt_tokens_most=10, completion_tokens_most=20)
        return Transaction(
            id=f"hold:{task}", kind="hold", at_ms=now_ms(), currency="EUR", postings=moved, task=task, hold=terms
        )
    moved = (
        Posting(account=aside, amount_nano=-11),
        Posting(account=free, amount_nano=3),
        Posting(account="node:node-a", amount_nano=7, attempt=1),
        Posting(account="fees", amount_nano=1),
    )
    used = Used(model="m-small", price_version=1, prompt_tokens=10, completion_tokens=20)
    return Transaction(
        id=f"charge:{task}", kind="charge", at_ms=now_ms(), currency="EUR", postings=moved, task=task, used=used
    )


def _pieces(keys: list[TaskKey], size: int) -> Iterator[list[TaskKey]]:
    for begin in range(0, len(keys), size):
        yield keys[begin : begin + size]


def _p99(values: list[float] | list[int]) -> float:
    return quantiles(values, n=100)[98]


if __name__ == "__main__":
    main()
