"""What a task may cost is put aside before it is accepted, however it came; nothing is, where nothing has a price."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from gateway.dispatcher import serving
from gateway.dispatcher.plausible import prompt_bound
from streams.events import TaskError, TaskSubmitted
from streams.subjects import CHECKS
from streams.tasks.chat import Message
from tests.http_gateway import HttpGateway, serve_http
from tests.mesh_in_process import LIMIT_S, InProcessMesh, RunningDispatcher
from tests.played_ledger import PlayedLedger, played_ledger, set_prices
from tests.processes import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

BRIEFLY_S = 0.2
"""How long a ledger is asked that does not answer, or is behind."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[InProcessMesh]:
    async with InProcessMesh(folder=tmp_path_factory.mktemp("holds")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def dispatcher(mesh: InProcessMesh) -> RunningDispatcher:
    running = await mesh.add_dispatcher(
        ledger_patience=timedelta(seconds=LIMIT_S), aliases=("either=synthetic,promised",)
    )
    await mesh.add_node(delay_ms=2)
    return running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(mesh: InProcessMesh, dispatcher: RunningDispatcher) -> AsyncIterator[HttpGateway]:
    async with serve_http(mesh.bus) as running:
        await running.until_served()
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def ledger(mesh: InProcessMesh, priced: None) -> AsyncIterator[PlayedLedger]:
    async with played_ledger(mesh.bus.core) as running:
        yield running


@pytest.fixture
def brief(dispatcher: RunningDispatcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger is soon given up; where there is one, it has time, however slow this machine is."""
    monkeypatch.setattr(dispatcher.dispatcher._entrance._holds, "_patience_s", BRIEFLY_S)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def priced(mesh: InProcessMesh, dispatcher: RunningDispatcher) -> None:
    """Everything costs something, and the dispatcher knows; but before that nothing did."""
    async with played_ledger(mesh.bus.core) as unasked:
        assert await end_of(mesh, "early") is None
        assert unasked.wanted == []
    await set_prices(mesh.bus.core)
    await until(lambda: dispatcher.dispatcher._entrance._holds.has_prices)


async def end_of(mesh: InProcessMesh, account: str, **asked: object) -> TaskError | None:
    """Why a task came to nothing, or None."""
    steps = await mesh.steps(await mesh.submit(mesh.key(account), **{"tokens": 3, **asked}))
    return steps[-1].state.error


async def test_the_most_that_a_task_can_cost_is_put_aside(mesh: InProcessMesh, ledger: PlayedLedger) -> None:
    assert await end_of(mesh, "held", tokens=7, text="Grüße") is None
    (wanted,) = ledger.asked_for("held")
    asked = TaskSubmitted(model="synthetic", messages=(Message(role="user", content="Grüße"),))
    assert (wanted.model, wanted.others, wanted.kind) == ("synthetic", (), "chat")
    assert (wanted.prompt_tokens_most, wanted.completion_tokens_most) == (prompt_bound(asked), 7)


async def test_of_a_name_for_several_models_the_dearest_can_be_held(mesh: InProcessMesh, ledger: PlayedLedger) -> None:
    assert await end_of(mesh, "alias", model="either") is None
    (wanted,) = ledger.asked_for("alias")
    assert (wanted.model, wanted.others) == ("synthetic", ("promised",))


@pytest.mark.parametrize(("code", "status"), [("insufficient_quota", 402), ("budget_exceeded", 429)])
async def test_who_cannot_pay_is_told_so_on_the_bus_and_over_http_also_where_a_stream_was_asked_for(
    mesh: InProcessMesh, gateway: HttpGateway, ledger: PlayedLedger, code: str, status: int
) -> None:
    ledger.refuse("poor", code, status)
    assert await end_of(mesh, "poor") == TaskError(code=code, status=status, message="Poor has no money left.")
    ledger.refuse("local", code, status)
    for stream in (False, True):
        answer = await gateway.ask({"stream": stream})
        assert answer.status == status
        error = (await answer.json())["error"]
        assert (error["code"], error["type"]) == (code, "insufficient_quota")
        assert answer.headers["x-should-retry"] == "false"


async def test_what_is_wrong_anyway_and_what_the_mesh_checks_itself_asks_for_no_money(
    mesh: InProcessMesh, ledger: PlayedLedger
) -> None:
    refused = await end_of(mesh, "wrong", model="unknown")
    assert refused is not None
    assert refused.code == "model_not_found"
    await end_of(mesh, CHECKS)
    assert ledger.wanted == []


@pytest.mark.usefixtures("brief", "priced")
async def test_without_a_ledger_nothing_with_a_price_is_accepted(mesh: InProcessMesh, gateway: HttpGateway) -> None:
    refused = await end_of(mesh, "any")
    assert refused is not None
    assert (refused.code, refused.status) == ("billing_unavailable", 503)
    answer = await gateway.ask({"stream": True})
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")


@pytest.mark.usefixtures("brief")
async def test_a_ledger_that_is_behind_is_asked_again(
    mesh: InProcessMesh, dispatcher: RunningDispatcher, ledger: PlayedLedger
) -> None:
    account = "behind"
    while len(ledger.asked_for(account)) < 2:
        # Where this machine is slow, all of its patience may be over before it has asked twice.
        dispatcher.dispatcher._entrance._holds._patience_s *= 2
        account = f"{account}-again"
        ledger.refuse(account, "ledger_behind", 503)
        refused = await end_of(mesh, account)
    assert refused is not None
    assert refused.code == "billing_unavailable"
    assert f"{account} has no money left" in refused.message


async def test_nobody_is_refused_in_the_middle_of_an_answer_that_another_dispatcher_has_begun(
    mesh: InProcessMesh, dispatcher: RunningDispatcher, ledger: PlayedLedger
) -> None:
    mesh.pace.hold(5)
    begun = await mesh.submit(mesh.key("moved"), tokens=600)
    await mesh.written(begun, 5)
    waiting = await mesh.submit(mesh.key("waits"), model="promised")
    await mesh.reached(waiting, 1)
    assert [len(ledger.asked_for(name)) for name in ("moved", "waits")] == [1, 1]
    ledger.refuse("moved", "insufficient_quota", 402)
    await mesh.add_dispatcher("heir", ledger_patience=timedelta(seconds=LIMIT_S))
    await dispatcher.stop()
    mesh.pace.let_go()
    assert (await mesh.steps(begun))[-1].state.outcome == "completed"
    assert [len(ledger.asked_for(name)) for name in ("moved", "waits")] == [1, 1]


async def test_a_batch_waits_for_the_ledger(mesh: InProcessMesh, priced: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "LEDGER_PAUSE", timedelta(seconds=0.1))
    heir = mesh.dispatchers[-1]
    holds = heir.dispatcher._entrance._holds
    monkeypatch.setattr(holds, "_patience_s", BRIEFLY_S)
    key = await mesh.submit(mesh.key("patient"), tokens=3, service_class="batch")
    await until(lambda: key in heir.dispatcher.lives)
    await until(lambda: key not in heir.dispatcher.lives)
    monkeypatch.setattr(holds, "_patience_s", LIMIT_S)
    async with played_ledger(mesh.bus.core) as ledger:
        assert (await mesh.steps(key))[-1].state.outcome == "completed"
        # Once, unless it was asked while nobody was patient yet: it is held once however often.
        assert {wanted.task for wanted in ledger.wanted} == {key.task}
