"""A hold whose task never ends is given back when its end would have come and gone."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.ledger import releasing
from gateway.ledger.books import Books
from gateway.ledger.verifying import verify
from mesh.bus.link import Link
from mesh.errors import RequestTimedOut
from mesh.history.snapshots import SnapshotStore
from streams.billing.events import LedgerPosted, Transaction
from streams.billing.messages import HoldWanted
from streams.billing.subjects import account_chain
from streams.ledger.chain import ChainState
from streams.ledger.holding import Taken, decide
from streams.subjects import TaskKey
from streams.tokens import Token
from tests.books import (
    CURRENCY,
    MODEL,
    UNIT,
    completed,
    end,
    key_of,
    open_books,
    paid_in,
    priced,
    running_ledger,
    transactions_of,
)
from tests.mesh_in_process import InProcessMesh
from tests.processes import until

ACME = Token("acme")
DAY_MS = 86_400_000
GIVEN_UP_DAYS = 1 + 7 + 1
"""How long a task is kept, its end, and what clocks may differ."""


async def held_before(books: Books, key: TaskKey, *, days: int) -> None:
    """Put something aside for a task, as if that had been some days ago."""

    def compose(chain: ChainState, at_ms: int) -> LedgerPosted | None:
        if key.task in chain.holds:
            return None
        want = HoldWanted(account=ACME, task=key.task, model=MODEL, prompt_tokens_most=100, completion_tokens_most=0)
        hold = decide(books.state, chain, want, Taken(), at_ms=at_ms)
        assert isinstance(hold, Transaction)
        aged = replace(hold, at_ms=at_ms - days * DAY_MS)
        return LedgerPosted(at_ms=at_ms, previous=chain.digest, transactions=(aged,))

    await books.write(account_chain(ACME), compose)


async def test_a_hold_whose_task_never_ended_is_given_back_once_and_a_younger_one_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with InProcessMesh(folder=tmp_path / "mesh") as mesh:
        core = mesh.bus.core
        await priced(core)
        await paid_in(core, ACME)
        old, young = key_of(ACME), key_of(ACME)
        books = await open_books(core)
        await held_before(books, old, days=GIVEN_UP_DAYS + 1)
        await held_before(books, young, days=GIVEN_UP_DAYS - 1)
        await books.stop()
        async with running_ledger(mesh) as first, running_ledger(mesh) as second:
            for ledger in (first, second):
                state = ledger.books.state
                chain = state.chain(account_chain(ACME).subject)
                await until(lambda chain=chain: chain.is_settled(old.task))
                assert list(chain.holds) == [young.task]
                has = (state.balance("held:acme", CURRENCY), state.balance("user:acme", CURRENCY))
                assert has == (1000, UNIT - 1000)
            # One of the two has done it, and says so.
            await until(lambda: caplog.text.count(f": {old.task}") == 1)
            assert (await verify(core, SnapshotStore(tmp_path))).differences == ()
            # An end that comes all the same is charged to nobody, and named.
            await end(core, old, completed())
            await end(core, young, completed(completion=0, at_ms=first.books.state.chain("billing.acme").at_ms))
            await until(lambda: first.books.state.balance("held:acme", CURRENCY) == 0)
            (difference,) = (await verify(core, SnapshotStore(tmp_path))).differences
            assert difference.detail.startswith("what was held for it was given back")
            assert first.books.state.fault_count == second.books.state.fault_count == 0
        assert caplog.text.count(f": {old.task}") == 1
        found = [(one.kind, one.task) for one in await transactions_of(core, ACME)]
        assert found[-2:] == [("release", old.task), ("charge", young.task)]


async def test_a_look_that_the_broker_did_not_answer_is_taken_again_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = releasing.by_both_clocks, 0

    async def silent_at_first(core: Link) -> int:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise RequestTimedOut("no answer in time")
        return await real(core)

    monkeypatch.setattr(releasing, "by_both_clocks", silent_at_first)
    monkeypatch.setattr(releasing, "_AGAIN_S", 0.01)
    async with InProcessMesh(folder=tmp_path / "mesh") as mesh:
        core, old = mesh.bus.core, key_of(ACME)
        await priced(core)
        await paid_in(core, ACME)
        books = await open_books(core)
        await held_before(books, old, days=GIVEN_UP_DAYS + 1)
        await books.stop()
        async with running_ledger(mesh) as ledger:
            await until(lambda: ledger.books.state.chain(account_chain(ACME).subject).is_settled(old.task))
            assert asked == 2
