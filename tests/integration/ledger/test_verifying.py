"""What is changed in the books afterwards is found, and named; what is whole is said to be."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec.structs import replace

from gateway.ledger.verifying import verify
from mesh.bus.link import Link
from mesh.bus.provision import provision
from mesh.history.ordered import OrderedReader
from mesh.history.snapshots import SnapshotStore
from mesh.history.stream_facts import Recorded
from streams.billing.events import LedgerPosted
from streams.codec import decode_billing_event, encode
from streams.consumers import consumer_specs
from streams.tokens import Token
from streams.topology import BILLING, stream_specs
from tests.books import ask_hold, completed, end, key_of, paid_in, priced, running_ledger
from tests.mesh_in_process import InProcessMesh
from tests.processes import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

ACME = Token("acme")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[InProcessMesh]:
    """Six tasks of one account, held and charged."""
    async with InProcessMesh(folder=tmp_path_factory.mktemp("mesh")) as running:
        core = running.bus.core
        await priced(core)
        await paid_in(core, ACME)
        async with running_ledger(running) as ledger:
            for _ in range(6):
                key = key_of(ACME)
                await ask_hold(core, key)
                await end(core, key, completed())
                chain = ledger.books.state.chain("billing.acme")
                await until(lambda chain=chain, key=key: chain.is_settled(key.task))
        yield running


async def stored(core: Link) -> list[Recorded]:
    found: list[Recorded] = []
    async with OrderedReader(core, BILLING) as reader:
        while not reader.is_caught_up:
            found += await reader.take(wait_s=5)
    return found


async def test_books_that_are_whole_are_said_to_be(mesh: InProcessMesh, tmp_path: Path) -> None:
    async with running_ledger(mesh):
        report = await verify(mesh.bus.core, SnapshotStore(tmp_path))
    assert report.differences == ()
    assert (report.charges_compared, report.ledgers_compared) == (6, 1)
    assert report.transactions == 1 + 6 + 6


async def test_an_entry_that_was_changed_afterwards_is_named(mesh: InProcessMesh, tmp_path: Path) -> None:
    """Last on purpose: somebody with the broker's disk writes the books anew, one charge being smaller."""
    core, before = mesh.bus.core, await stored(mesh.bus.core)
    charged = [each for each in before if b"charge:" in each.data]
    victim = charged[2]
    await core.request(f"$JS.API.STREAM.DELETE.{BILLING}", b"")
    await provision(mesh.bus.links, stream_specs(), consumer_specs())
    places: dict[int, int] = {}
    for each in before:
        data = cheaper(each.data) if each.sequence == victim.sequence else each.data
        places[each.sequence] = await core.append(each.subject, data)
    report = await verify(core, SnapshotStore(tmp_path))
    place = places[victim.sequence]
    named = [one for one in report.differences if one.where == f"event {place} (billing.acme)"]
    assert [one.detail.split(":")[0] for one in named] == ["broken_chain"]
    (event,) = [decode_billing_event(victim.data)]
    assert isinstance(event, LedgerPosted)
    task = event.transactions[0].task
    assert [one.where for one in report.differences if one not in named] == [f"event {place}, task {task}"]


def cheaper(data: bytes) -> bytes:
    """The same event, its charge being one 10^-9 unit less, and still balanced."""
    event = decode_billing_event(data)
    assert isinstance(event, LedgerPosted)
    (charge,) = event.transactions
    changed = tuple(
        replace(posting, amount_nano=posting.amount_nano + {"user:acme": 1, "fees": -1}.get(posting.account, 0))
        for posting in charge.postings
    )
    return encode(replace(event, transactions=(replace(charge, postings=changed),)))
