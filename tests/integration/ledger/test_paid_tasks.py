"""From a request to the invoice, with everything real: money is held before, charged after, and never spent twice."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from gateway.ledger.entries import deposit, set_plan
from gateway.usage.invoice import days_of, invoice_of
from gateway.usage.ledger_reads import LedgerReads
from mesh.access.writer import AccessWriter
from streams.billing.events import KeyBudget, PlanKind, PriceRule
from streams.billing.subjects import ledger_api
from streams.events import TaskError
from streams.tokens import Token
from tests.books import RunningLedger, priced, running_ledger, transactions_of
from tests.http_gateway import serve_http
from tests.mesh_in_process import LIMIT_S, InProcessMesh
from tests.processes import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

COMPLETION = 100
TOKENS = 10
RULES = (
    PriceRule(model="promised", prompt=0, completion=3 * COMPLETION),
    PriceRule(model="*", prompt=0, completion=COMPLETION),
)
"""A prompt costs nothing here, so that one knows what an answer costs."""
PATIENT = timedelta(seconds=LIMIT_S)
"""Nothing is away here, however long this machine takes."""
WORST = TOKENS * COMPLETION
EVER = ("2000-01-01", "9999-12-31")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[InProcessMesh]:
    async with InProcessMesh(folder=tmp_path_factory.mktemp("mesh")) as running:
        await priced(running.bus.core, RULES)
        for name in ("d1", "d2"):
            # So narrow that neither takes all that comes at once.
            await running.add_dispatcher(
                name, window=1, aliases=("either=synthetic,promised",), ledger_patience=PATIENT
            )
            await running.add_node(f"n-{name}", delay_ms=2, interval_s=5)
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ledger(mesh: InProcessMesh) -> AsyncIterator[RunningLedger]:
    async with running_ledger(mesh) as running:
        yield running


async def paid_in(ledger: RunningLedger, account: str, amount_nano: int) -> None:
    await deposit(ledger.books, Token(account), amount_nano, "EUR", reference=account, by="test")


async def has_plan(ledger: RunningLedger, account: str, kind: PlanKind, *keys: KeyBudget) -> None:
    await set_plan(
        ledger.books,
        Token(account),
        kind=kind,
        currency=None,
        limit_nano=0,
        monthly_nano=None,
        keys=keys,
        by="test",
    )


async def end_of(mesh: InProcessMesh, account: str, model: str = "synthetic") -> TaskError | None:
    steps = await mesh.steps(await mesh.submit(mesh.key(account), model=model, tokens=TOKENS))
    return steps[-1].state.error


async def charged(ledger: RunningLedger, account: str, left_nano: int) -> None:
    """Wait until nothing is held any more and so much is left."""
    state = ledger.books.state
    await until(
        lambda: (state.balance(f"user:{account}", "EUR"), state.balance(f"held:{account}", "EUR")) == (left_nano, 0)
    )


async def test_two_dispatchers_cannot_spend_the_same_money(mesh: InProcessMesh, ledger: RunningLedger) -> None:
    await paid_in(ledger, "one", WORST)
    asking: set[str] = set()
    listener = await mesh.bus.core.listen(ledger_api("hold"), lambda asked: asking.add(asked.reply.split(".")[2]))
    ends = await asyncio.gather(*(end_of(mesh, "one") for _ in range(12)))
    await listener.close()
    refused = [end for end in ends if end is not None]
    assert len(refused) == 11
    assert {(end.code, end.status) for end in refused} == {("insufficient_quota", 402)}
    assert asking == {"d1", "d2"}
    await charged(ledger, "one", 0)
    assert ledger.books.state.suspensions == 0


async def test_what_a_key_may_spend_is_spent_over_http_and_shows_in_usage_and_invoice(
    mesh: InProcessMesh, ledger: RunningLedger
) -> None:
    account, writer = Token("keyed"), AccessWriter(mesh.bus.core)
    await writer.open(account)
    issued = [await writer.issue(account, name=name, rights=("chat", "read")) for name in ("little", "much")]
    little, much = (one.shown.key_id for one in issued)
    await paid_in(ledger, "keyed", 10 * WORST)
    await has_plan(ledger, "keyed", "prepaid", KeyBudget(key=little, monthly_nano=WORST))
    async with serve_http(mesh.bus, auth="required") as gateway:
        await gateway.until_served()
        first, second = ({"Authorization": f"Bearer {one.shown.text}"} for one in issued)
        asked = {"max_tokens": TOKENS, "stream": True}
        assert (await gateway.ask(asked, **first)).status == 200
        refused = await gateway.ask(asked, **first)
        assert (refused.status, (await refused.json())["error"]["code"]) == (429, "budget_exceeded")
        assert (await gateway.ask(asked, **second)).status == 200
        await charged(ledger, "keyed", 8 * WORST)
        costs = await (await gateway.get("/v1/usage/costs?group_by=api_key_id", **first)).json()
        results = [result for bucket in costs["data"] for result in bucket["results"]]
        assert {result["api_key_id"]: result["amount"]["value"] for result in results} == {
            little: "0.000001",
            much: "0.000001",
        }
    # Of the day that the ledger has noted: it may be over by now, and its month too.
    month = min(row.day for row in ledger.books.state.usage.page(account, *EVER).rows)[: len("2026-11")]
    rows = await LedgerReads(mesh.bus.core).usage(account, *days_of(month))
    made = invoice_of(account, month, rows)
    paid = [line for line in made.lines if line.amount is not None]
    assert [(line.completion_tokens, line.tasks) for line in paid] == [(TOKENS, 1)] * 2
    assert [amount.value for amount in made.total] == ["0.000002"]


async def test_two_equal_requests_at_once_are_one_charge_and_one_hit_of_the_cache(
    mesh: InProcessMesh, ledger: RunningLedger
) -> None:
    account, writer = Token("twice"), AccessWriter(mesh.bus.core)
    await writer.open(account)
    issued = await writer.issue(account, name="both", rights=("chat",))
    await paid_in(ledger, "twice", 10 * WORST)
    async with serve_http(mesh.bus, auth="required", cache_patience=PATIENT) as gateway:
        await gateway.until_served()
        asked = {"max_tokens": TOKENS, "temperature": 0}
        key = {"Authorization": f"Bearer {issued.shown.text}"}
        answers = await asyncio.gather(*(gateway.ask(asked, **key) for _ in range(2)))
        assert {answer.status for answer in answers} == {200}
        assert len({answer.headers["x-ig3-task"] for answer in answers}) == 1
    # A cached answer costs a quarter.
    await charged(ledger, "twice", 10 * WORST - WORST - WORST // 4)
    entries = await transactions_of(mesh.bus.core, account)
    assert sorted(entry.kind for entry in entries) == ["cache_hit", "charge", "deposit", "hold"]


async def test_of_a_name_for_several_models_the_dearest_is_held_and_the_one_that_answered_is_paid(
    mesh: InProcessMesh, ledger: RunningLedger
) -> None:
    await paid_in(ledger, "alias", 3 * WORST - 1)
    refused = await end_of(mesh, "alias", "either")
    assert refused is not None
    assert refused.code == "insufficient_quota"
    await paid_in(ledger, "alias2", 3 * WORST)
    assert await end_of(mesh, "alias2", "either") is None
    await charged(ledger, "alias2", 2 * WORST)


async def test_an_account_that_is_free_is_metered_and_never_asked_for_money(
    mesh: InProcessMesh, ledger: RunningLedger
) -> None:
    await has_plan(ledger, "guest", "free")
    assert await end_of(mesh, "guest") is None
    await until(lambda: ledger.books.state.usage.page("guest", *EVER).rows != ())
    (row,) = ledger.books.state.usage.page("guest", *EVER).rows
    assert (row.completion_tokens, row.amount_nano) == (TOKENS, 0)
