"""A ledger dies twenty times while tasks are held and end: no drift, no duplicate, no gap."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway.ledger.verifying import verify
from mesh.errors import BusError
from mesh.history.snapshots import SnapshotStore
from streams.billing.messages import Held
from streams.subjects import TaskKey
from streams.tokens import Token
from tests.books import (
    COMPLETION,
    CURRENCY,
    PROMPT,
    UNIT,
    ask_hold,
    completed,
    end,
    key_of,
    open_books,
    paid_in,
    priced,
    start_ledger,
    transactions_of,
)
from tests.mesh_in_process import InProcessMesh
from tests.processes import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

KILLS = 20
ACCOUNTS = tuple(Token(f"acme-{number}") for number in range(4))
COST = 10 * PROMPT + 20 * COMPLETION


@pytest_asyncio.fixture(loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[InProcessMesh]:
    async with InProcessMesh(folder=tmp_path_factory.mktemp("mesh")) as running:
        await priced(running.bus.core)
        for account in ACCOUNTS:
            await paid_in(running.bus.core, account)
        yield running


async def one_task(mesh: InProcessMesh, account: Token) -> TaskKey:
    """Held however often that must be asked, and then ended."""
    key = key_of(account)
    while True:
        try:
            answer = await ask_hold(mesh.bus.core, key, prompt=10, completion=20, timeout_s=0.5)
        except BusError:
            await asyncio.sleep(0.01)
            continue
        if isinstance(answer, Held):
            await end(mesh.bus.core, key, completed())
            return key
        await asyncio.sleep(0.01)


async def load(mesh: InProcessMesh, account: Token, until: asyncio.Event) -> list[TaskKey]:
    keys: list[TaskKey] = []
    while not until.is_set():
        keys.append(await one_task(mesh, account))
    return keys


async def test_a_ledger_that_dies_twenty_times_under_load_charges_each_task_once(
    mesh: InProcessMesh, tmp_path_factory: pytest.TempPathFactory
) -> None:
    snapshots, over = SnapshotStore(tmp_path_factory.mktemp("snapshots")), asyncio.Event()
    loads = [asyncio.create_task(load(mesh, account, over)) for account in ACCOUNTS]
    for _ in range(KILLS):
        ledger = await start_ledger(mesh, snapshots)
        state, before = ledger.books.state, ledger.books.state.transactions
        await until(lambda state=state, before=before: state.transactions >= before + 20)
        await ledger.vanish()
    last = await start_ledger(mesh, snapshots)
    over.set()
    done = await asyncio.gather(*loads)
    chains = last.books.state.chains
    for account, keys in zip(ACCOUNTS, done, strict=True):
        chain = chains[f"billing.{account}"]
        await until(lambda chain=chain, keys=keys: all(chain.is_settled(key.task) for key in keys))
    report = await verify(mesh.bus.core, snapshots)
    assert report.differences == ()
    assert report.charges_compared == sum(map(len, done))
    await last.stop()
    books = await open_books(mesh.bus.core)
    for account, keys in zip(ACCOUNTS, done, strict=True):
        charged = [one.task for one in await transactions_of(mesh.bus.core, account) if one.kind == "charge"]
        assert sorted(map(str, charged)) == sorted(key.task for key in keys)
        assert books.state.balance(f"user:{account}", CURRENCY) == UNIT - COST * len(keys)
    await books.stop()
