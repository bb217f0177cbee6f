"""From the end of a task to the books, on a real broker: once each, whatever dies, and nothing passed over."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace

from gateway.ledger.entries import set_plan
from mesh.bus.provision import provision
from mesh.history.snapshots import SnapshotStore
from streams.billing.events import KeyBudget, LedgerSuspended, PriceRule
from streams.billing.messages import Held, HoldRefused
from streams.cache.events import CacheHit
from streams.cache.subjects import cache_hits
from streams.clock import now_ms
from streams.codec import encode
from streams.consumers import consumer_specs
from streams.events import TaskCancelled
from streams.ledger.chain import OpenHold
from streams.subjects import CHECKS, TaskKey
from streams.tasks.chat import Usage
from streams.tasks.metering import Metered
from streams.tokens import Token
from streams.topology import stream_specs
from tests.books import (
    CACHED,
    COMPLETION,
    CURRENCY,
    MODEL,
    PROMPT,
    RULES,
    UNIT,
    RunningLedger,
    ask_hold,
    completed,
    end,
    events_of,
    key_of,
    open_books,
    paid_in,
    priced,
    running_ledger,
    share,
    start_ledger,
    transactions_of,
)
from tests.mesh_in_process import InProcessMesh
from tests.processes import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

DAY_MS = 86_400_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[InProcessMesh]:
    async with InProcessMesh(folder=tmp_path_factory.mktemp("mesh")) as running:
        await priced(running.bus.core)
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def ledger(mesh: InProcessMesh) -> AsyncIterator[RunningLedger]:
    async with running_ledger(mesh) as running:
        yield running


def settled(ledger: RunningLedger, *keys: TaskKey) -> Callable[[], bool]:
    chains = ledger.books.state.chains
    return lambda: all(
        (chain := chains.get(f"billing.{key.account}")) is not None and chain.is_settled(key.task) for key in keys
    )


def has(ledger: RunningLedger, account: str) -> int:
    return ledger.books.state.balance(account, CURRENCY)


async def test_a_task_is_held_charged_and_its_nodes_are_paid_in_one_balanced_transaction(
    mesh: InProcessMesh, ledger: RunningLedger
) -> None:
    acme = Token("charged")
    await paid_in(mesh.bus.core, acme)
    key = key_of(acme)
    held = await ask_hold(mesh.bus.core, key)
    assert held == Held(task=key.task, price_version=1, currency=CURRENCY, amount_nano=100 * PROMPT + 100 * COMPLETION)
    assert (has(ledger, "user:charged"), has(ledger, "held:charged")) == (UNIT - 11_000, 11_000)
    shares = (share("charged-a", 6), share("charged-b", 13, attempt=2), share("charged-c", 1, attempt=3, signed=False))
    await end(mesh.bus.core, key, completed(*shares, prompt=10, cached=4, completion=20))
    await until(settled(ledger, key))
    cost = 6 * PROMPT + 4 * CACHED + 20 * COMPLETION
    fee = cost // 10
    pool = cost - fee
    assert has(ledger, "user:charged") == UNIT - cost
    assert has(ledger, "held:charged") == 0
    assert has(ledger, "node:charged-a") == pool * 6 // 20
    assert has(ledger, "node:charged-b") == pool * 13 // 20
    assert has(ledger, "node:charged-c") == 0
    charge = (await transactions_of(mesh.bus.core, acme))[-1]
    assert (charge.id, charge.kind) == (f"charge:{key.task}", "charge")
    assert sum(posting.amount_nano for posting in charge.postings) == 0
    assert [(posting.attempt, posting.why) for posting in charge.postings if posting.account.startswith("fees")] == [
        (None, ""),
        (3, "unsigned"),
    ]


async def test_a_cancelled_task_costs_what_was_delivered_and_its_prompt_once_and_nothing_if_nothing_was(
    mesh: InProcessMesh, ledger: RunningLedger
) -> None:
    acme = Token("cancelled")
    await paid_in(mesh.bus.core, acme)
    keys = [key_of(acme) for _ in range(2)]
    for key in keys:
        await ask_hold(mesh.bus.core, key)
    metered = Metered(prompt_tokens=10, cached_prompt_tokens=2)
    for key, shares in zip(keys, ((share("node-a", 3),), ()), strict=True):
        gone = TaskCancelled(at_ms=now_ms(), model=MODEL, final_n=2, reason="asked", shares=shares, metered=metered)
        await end(mesh.bus.core, key, gone)
    await until(settled(ledger, *keys))
    assert has(ledger, "user:cancelled") == UNIT - (8 * PROMPT + 2 * CACHED + 3 * COMPLETION)
    assert has(ledger, "held:cancelled") == 0


async def test_a_hold_is_answered_alike_however_often_it_is_asked_for_and_by_whichever_ledger(
    mesh: InProcessMesh, ledger: RunningLedger
) -> None:
    acme, key = Token("again"), key_of(Token("again"))
    await paid_in(mesh.bus.core, acme)
    async with running_ledger(mesh):
        answers = await asyncio.gather(*(ask_hold(mesh.bus.core, key) for _ in range(20)))
    assert len(set(map(repr, answers))) == 1
    await end(mesh.bus.core, key, completed())
    await until(settled(ledger, key))
    late = await ask_hold(mesh.bus.core, key)
    assert isinstance(late, HoldRefused)
    assert (late.code, late.status) == ("already_charged", 409)
    assert [one.kind for one in await transactions_of(mesh.bus.core, acme)] == ["deposit", "hold", "charge"]


async def test_two_ledgers_cannot_overspend_an_account_together(mesh: InProcessMesh, ledger: RunningLedger) -> None:
    acme = Token("poor")
    await paid_in(mesh.bus.core, acme)
    third = UNIT // 3 // COMPLETION
    async with running_ledger(mesh) as other:
        keys = [key_of(acme) for _ in range(12)]
        answers = await asyncio.gather(*(ask_hold(mesh.bus.core, key, prompt=0, completion=third) for key in keys))
        await other.books.catch_up()
        await ledger.books.catch_up()
        assert (has(ledger, "user:poor"), has(other, "user:poor")) == (UNIT - 3 * third * COMPLETION,) * 2
    assert sum(isinstance(answer, Held) for answer in answers) == 3
    refused = [answer for answer in answers if isinstance(answer, HoldRefused)]
    assert {(one.code, one.status) for one in refused} == {("insufficient_quota", 402)}


async def test_a_budget_of_a_month_holds_for_the_account_and_for_each_key(
    mesh: InProcessMesh, ledger: RunningLedger
) -> None:
    acme = Token("budgeted")
    books = await open_books(mesh.bus.core)
    await set_plan(
        books,
        acme,
        kind="postpaid",
        currency=None,
        limit_nano=UNIT,
        monthly_nano=30_000,
        keys=(KeyBudget(key="k1", monthly_nano=12_000),),
        by="a test",
    )
    await books.stop()
    await ledger.books.catch_up()
    core = mesh.bus.core
    assert isinstance(await ask_hold(core, key_of(acme), api_key="k1"), Held)
    by_key = await ask_hold(core, key_of(acme), api_key="k1")
    assert isinstance(by_key, HoldRefused)
    assert (by_key.code, by_key.status) == ("budget_exceeded", 429)
    assert isinstance(await ask_hold(core, key_of(acme), api_key="k2"), Held)
    by_account = await ask_hold(core, key_of(acme))
    assert isinstance(by_account, HoldRefused)
    assert by_account.code == "budget_exceeded"
    assert "the account's budget" in by_account.message


async def test_ends_that_come_again_to_two_ledgers_are_charged_once(mesh: InProcessMesh) -> None:
    acme = Token("twice")
    await paid_in(mesh.bus.core, acme)
    first, second = await start_ledger(mesh), await start_ledger(mesh)
    keys = [key_of(acme) for _ in range(60)]
    await asyncio.gather(*(ask_hold(mesh.bus.core, key, prompt=10, completion=20) for key in keys))
    await asyncio.gather(*(end(mesh.bus.core, key, completed()) for key in keys))
    await until(settled(first, *keys))
    await until(settled(second, *keys))
    # All that ENDED has is handed out once more, as to a consumer that was lost.
    await mesh.bus.core.request("$JS.API.CONSUMER.DELETE.ENDED.ledger", b"")
    await provision(mesh.bus.links, stream_specs(), consumer_specs())
    marker = key_of(acme)
    await ask_hold(mesh.bus.core, marker, prompt=10, completion=20)
    await end(mesh.bus.core, marker, completed())
    await until(settled(second, marker))
    await first.stop()
    await second.stop()
    found = await transactions_of(mesh.bus.core, acme)
    charges = [one for one in found if one.kind == "charge"]
    assert len(charges) == len({one.id for one in charges}) == len(keys) + 1
    assert second.books.state.fault_count == 0


async def test_a_ledger_that_dies_between_hold_and_end_is_followed_by_one_that_goes_on(
    mesh: InProcessMesh, tmp_path: Path
) -> None:
    acme, snapshots = Token("crashed"), SnapshotStore(tmp_path)
    await paid_in(mesh.bus.core, acme)
    first = await start_ledger(mesh, snapshots)
    keys = [key_of(acme) for _ in range(5)]
    for key in keys:
        await ask_hold(mesh.bus.core, key, prompt=10, completion=20)
    await end(mesh.bus.core, keys[0], completed())
    await until(settled(first, keys[0]))
    await first.vanish()
    for key in keys[1:]:
        await end(mesh.bus.core, key, completed())
    async with running_ledger(mesh, snapshots) as second:
        await until(settled(second, *keys))
        assert has(second, "held:crashed") == 0
        assert has(second, "user:crashed") == UNIT - 5 * (10 * PROMPT + 20 * COMPLETION)


SUSPECT: dict[str, tuple[Callable[[], Any], str]] = {
    "huge": (lambda: completed(share("node-a", 20), prompt=2**53 - 1, completion=2**53 - 1), "impossible_usage"),
    "above": (lambda: completed(prompt=10, completion=101), "above_hold"),
    "cached": (lambda: completed(prompt=10, cached=11), "impossible_usage"),
    "ahead": (lambda: completed(at_ms=now_ms() + 3 * DAY_MS), "impossible_time"),
    "before": (lambda: completed(at_ms=now_ms() - 3 * DAY_MS), "impossible_time"),
    "negative-time": (lambda: completed(at_ms=-(2**63)), "impossible_time"),
    "far-time": (lambda: completed(at_ms=2**63 - 1), "impossible_time"),
    "nobody": (lambda: completed(share("no node!", 20)), "impossible_node"),
    "negative": (
        lambda: encode(completed()).replace(b"\xb1completion_tokens\x14", b"\xb1completion_tokens\xec"),
        "unreadable",
    ),
    "garbage": (lambda: b"\x00garbage", "unreadable"),
}


@pytest.mark.parametrize("name", SUSPECT)
async def test_an_end_that_cannot_be_is_put_in_suspense_with_what_was_held_for_it(
    name: str, mesh: InProcessMesh, ledger: RunningLedger, caplog: pytest.LogCaptureFixture
) -> None:
    acme, (make, code) = Token(f"suspect-{name}"), SUSPECT[name]
    await paid_in(mesh.bus.core, acme)
    key = key_of(acme)
    before = has(ledger, "suspense")
    assert isinstance(await ask_hold(mesh.bus.core, key, prompt=10, completion=100), Held)
    await end(mesh.bus.core, key, make())
    await until(settled(ledger, key))
    last = (await events_of(mesh.bus.core, acme))[-1]
    assert isinstance(last, LedgerSuspended)
    assert (last.code, last.transaction.task) == (code, key.task)
    assert has(ledger, "suspense") - before == 10 * PROMPT + 100 * COMPLETION
    assert has(ledger, f"held:{acme}") == 0
    # Said behind the entry, which is seen as soon as it is stored.
    await until(
        lambda: any(key.task in record.getMessage() and code in record.getMessage() for record in caplog.records)
    )


async def test_an_end_without_a_hold_or_a_submission_is_named_and_costs_nobody_anything(
    mesh: InProcessMesh, ledger: RunningLedger
) -> None:
    key = key_of(Token("bypassed"))
    await end(mesh.bus.core, key, completed())
    await until(settled(ledger, key))
    (event,) = await events_of(mesh.bus.core, key.account)
    assert isinstance(event, LedgerSuspended)
    assert (event.code, event.claimed_nano) == ("no_hold", 10 * PROMPT + 20 * COMPLETION)
    assert event.transaction.postings == ()


async def test_a_currency_and_a_version_that_no_list_has_are_put_in_suspense(
    mesh: InProcessMesh, ledger: RunningLedger
) -> None:
    acme, core = Token("mismatch"), mesh.bus.core
    await paid_in(core, acme)
    keys = {"currency_mismatch": key_of(acme), "no_price": key_of(acme)}
    for key in keys.values():
        await ask_hold(core, key)
    holds = ledger.books.state.chains["billing.mismatch"].holds
    spoil(holds, keys["currency_mismatch"], currency="USD")
    spoil(holds, keys["no_price"], version=77)
    for key in keys.values():
        await end(core, key, completed())
    await until(settled(ledger, *keys.values()))
    named = {
        each.transaction.task: each.code for each in await events_of(core, acme) if isinstance(each, LedgerSuspended)
    }
    assert named == {key.task: code for code, key in keys.items()}


def spoil(holds: dict[str, OpenHold], key: TaskKey, *, currency: str = CURRENCY, version: int = 1) -> None:
    """Have the ledger believe what no well-behaved one writes."""
    hold = holds[key.task]
    holds[key.task] = replace(hold, currency=currency, terms=replace(hold.terms, price_version=version))


async def test_a_task_keeps_the_price_that_it_was_accepted_at(mesh: InProcessMesh, ledger: RunningLedger) -> None:
    acme, core = Token("repriced"), mesh.bus.core
    await paid_in(core, acme)
    before, after = key_of(acme), key_of(acme)
    await ask_hold(core, before)
    dearer = (PriceRule(model="dear", prompt=1, completion=10**6), *RULES)
    await priced(core, dearer)
    await ledger.books.catch_up()
    held = await ask_hold(core, after, model="dear")
    assert isinstance(held, Held)
    assert held.price_version == ledger.books.state.prices.newest_version > 1
    for key, model in ((before, MODEL), (after, "dear")):
        await end(core, key, completed(prompt=1, completion=1, model=model))
    await until(settled(ledger, before, after))
    assert has(ledger, "user:repriced") == UNIT - (PROMPT + COMPLETION) - (1 + 10**6)
    refused = await ask_hold(core, key_of(acme), model="unheard-of")
    assert isinstance(refused, HoldRefused)
    assert (refused.code, refused.status) == ("no_price", 404)


async def test_an_answer_out_of_the_cache_is_charged_once_and_never_more_than_there_is(
    mesh: InProcessMesh, ledger: RunningLedger
) -> None:
    acme, core = Token("hits"), mesh.bus.core
    await paid_in(core, acme)
    usage = Usage(prompt_tokens=10, completion_tokens=20)
    hit = CacheHit(at_ms=now_ms(), batch="b1", owner="acme", task="t", model=MODEL, usage=usage, times=3)
    for _ in range(2):
        await core.append(cache_hits(acme), encode(hit))
    cost = (10 * PROMPT + 20 * COMPLETION) * 3 // 4
    state = ledger.books.state
    await until(lambda: has(ledger, "user:hits") == UNIT - cost)
    dear = CacheHit(at_ms=now_ms(), batch="b2", owner="acme", task="t", model=MODEL, usage=usage, times=10**9)
    await core.append(cache_hits(acme), encode(dear))
    await core.append(cache_hits(acme), b"garbage")
    await until(lambda: state.chains["billing.hits"].has("hit:b2"))
    await until(
        lambda: any(
            isinstance(each, str) and each.startswith("charge:unknown") for each in state.chains["billing.hits"].others
        )
    )
    assert has(ledger, "user:hits") == 0
    assert [one.id for one in await transactions_of(core, acme) if one.kind == "cache_hit"] == ["hit:b1", "hit:b2"]


async def test_tasks_of_the_mesh_itself_cost_nothing_and_leave_nothing(
    mesh: InProcessMesh, ledger: RunningLedger
) -> None:
    checks, marker = key_of(CHECKS), key_of(Token("bypassed"))
    await end(mesh.bus.core, checks, completed())
    await end(mesh.bus.core, marker, completed())
    await until(settled(ledger, marker))
    assert await events_of(mesh.bus.core, CHECKS) == []


async def test_an_account_on_the_free_plan_is_metered_and_pays_nothing(
    mesh: InProcessMesh, ledger: RunningLedger
) -> None:
    acme, core = Token("free"), mesh.bus.core
    books = await open_books(core)
    await set_plan(books, acme, kind="free", currency=None, limit_nano=0, monthly_nano=None, keys=(), by="a test")
    await books.stop()
    await ledger.books.catch_up()
    key = key_of(acme)
    assert await ask_hold(core, key) == Held(task=key.task, currency="XXX")
    await end(core, key, completed())
    await until(settled(ledger, key))
    (row,) = ledger.books.state.usage.page(acme, "2000-01-01", "9999-12-31").rows
    assert (row.tasks, row.prompt_tokens, row.completion_tokens, row.amount_nano) == (1, 10, 20, 0)


async def test_what_stands_is_what_the_log_adds_up_to(mesh: InProcessMesh, ledger: RunningLedger) -> None:
    """Last on purpose: all that the tests before have written is read once more, from the first event."""
    await ledger.books.catch_up()
    fresh = await open_books(mesh.bus.core)
    assert fresh.told() == ledger.books.told()
    assert fresh.state.fault_count == 0
    totals: dict[str, int] = {}
    for (_, currency), amount in fresh.state.balances.items():
        totals[currency] = totals.get(currency, 0) + amount
    assert set(totals.values()) <= {0}
    await fresh.stop()
