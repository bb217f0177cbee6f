"""Limits over HTTP: what a caller is told on every answer, what is refused and when, and who is slowed down."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import openai
import pytest
import pytest_asyncio
from aiohttp import ClientResponse

from gateway.intake.idempotency import IdempotencyKeys, key_digest
from mesh.access.writer import AccessWriter
from streams.access.limits import Limits
from streams.tasks.task_id import new_task_id
from streams.tokens import Token
from tests.http_gateway import LIMIT_S, HttpGateway, read_sse
from tests.limited_gateway import ACME, a_key, status, still, verdict, with_keys
from tests.patient_limits import be_patient
from tests.processes import until
from tests.scripted_mesh import ScriptedMesh, scripted_mesh

RATE = "x-ratelimit-"

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("patient_answers")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ScriptedMesh]:
    async with scripted_mesh(tmp_path_factory.mktemp("mesh")) as running:
        await running.bus.follow()
        await AccessWriter(running.bus.core).open(ACME)
        yield running


@pytest.fixture
def mesh(running: ScriptedMesh) -> ScriptedMesh:
    """The mesh that all tests here share, as it was at first; what was taken of limits is each gateway's own."""
    running.words, running.pause_after, running.submitted = ("one ", "two "), None, []
    running.go, running.paused = asyncio.Event(), asyncio.Event()
    return running


def rates(response: ClientResponse) -> dict[str, str]:
    return {name.lower().removeprefix(RATE): value for name, value in response.headers.items() if RATE in name.lower()}


async def ask_with(gateway: HttpGateway, key: dict[str, str]) -> ClientResponse:
    """Ask with a key."""
    return await gateway.ask(None, **key)


# --- requests ----------------------------------------------------------------------------------------------------


async def test_every_answer_of_a_limited_caller_says_how_it_stands(mesh: ScriptedMesh) -> None:
    async with still(mesh, requests_per_minute_of=("local=60",)) as gateway:
        first = rates(await gateway.ask())
        assert (first["limit-requests"], first["remaining-requests"]) == ("60", "59")
        assert first["reset-requests"] == "1s"
        assert set(first) == {"limit-requests", "remaining-requests", "reset-requests"}
        for response in (
            await gateway.ask({"stream": True}),
            await gateway.ask({"model": "unknown"}),
            await gateway.get("/v1/models"),
            await gateway.get("/v1/tasks/nothing"),
            await gateway.get("/v1/nothing"),
        ):
            shown = {"limit-requests": "60", "remaining-requests": "58", "reset-requests": "2s"}
            assert rates(response) == shown
            await response.read()
        assert rates(await gateway.get("/healthz")) == {}


async def test_whoever_asks_too_often_is_told_when_to_come_back_and_nothing_is_stored(mesh: ScriptedMesh) -> None:
    async with still(mesh, requests_per_minute_of=("local=3",)) as gateway:
        assert [await status(gateway.ask()) for _ in range(3)] == [200] * 3
        for body in ({}, {"stream": True}):
            refused = await gateway.ask(body)
            assert await verdict(refused) == (429, "rate_limit_exceeded", "requests")
            assert refused.headers["Retry-After"] == "20"
            assert rates(refused) == {"limit-requests": "3", "remaining-requests": "0", "reset-requests": "1m0s"}
        refused = await gateway.ask(Idempotency_Key="fresh")
        message = (await refused.json())["error"]["message"]
        assert "account local on requests per minute: limit 3, remaining 0, requested 1. Try again in" in message
        # What was refused has left no trace: not even its key.
        assert await IdempotencyKeys(gateway.bus.core).find(Token("local"), key_digest("fresh")) is None
    assert len(mesh.submitted) == 3


async def test_what_is_refused_for_another_reason_costs_nothing(mesh: ScriptedMesh) -> None:
    async with still(mesh, requests_per_minute_of=("local=2",)) as gateway:
        assert await status(gateway.ask({"model": "unknown"})) == 404
        assert await status(gateway.ask({"messages": []})) == 400
        assert [await status(gateway.ask()) for _ in range(3)] == [200, 200, 429]


async def test_a_task_that_is_there_is_answered_though_the_limit_is_reached(mesh: ScriptedMesh) -> None:
    async with still(mesh, requests_per_minute_of=("local=1",)) as gateway:
        first = await gateway.ask(Idempotency_Key="k")
        task, text = first.headers["x-ig3-task"], await first.read()
        assert await status(gateway.ask()) == 429
        for repeat in (await gateway.ask(x_ig3_task=task), await gateway.ask(Idempotency_Key="k")):
            assert (repeat.status, await repeat.read()) == (200, text)
        assert await status(gateway.ask({"stream": True}, x_ig3_task=task, Last_Event_ID="2")) == 200
    assert len(mesh.submitted) == 1


async def test_whoever_runs_the_mesh_is_limited_only_by_name(mesh: ScriptedMesh) -> None:
    async with still(mesh, requests_per_minute=1, concurrent_streams=1, tokens_per_minute=1) as gateway:
        answers = [await gateway.ask() for _ in range(3)]
    assert [(answer.status, rates(answer)) for answer in answers] == [(200, {})] * 3


async def test_keys_have_limits_of_their_own_besides_those_of_their_account(mesh: ScriptedMesh) -> None:
    async with with_keys(mesh, requests_per_minute=5) as gateway:
        narrow = await a_key(mesh, gateway, Limits(requests_per_minute=2))
        free = await a_key(mesh, gateway)
        first = await ask_with(gateway, narrow)
        # The nearer limit is shown.
        assert (rates(first)["limit-requests"], rates(first)["remaining-requests"]) == ("2", "1")
        assert [await status(ask_with(gateway, narrow)) for _ in range(2)] == [200, 429]
        assert "Rate limit reached for key" in (await (await ask_with(gateway, narrow)).json())["error"]["message"]
        last = [await ask_with(gateway, free) for _ in range(4)]
        assert [answer.status for answer in last] == [200, 200, 200, 429]
        assert "for account acme" in (await last[-1].json())["error"]["message"]


async def test_limits_hold_across_gateways(mesh: ScriptedMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    be_patient(monkeypatch)
    settings: dict[str, Any] = {"requests_per_minute_of": ("local=10",), "limits_store": "shared"}
    async with AsyncExitStack() as stack:
        gateways = [await stack.enter_async_context(still(mesh, **settings)) for _ in range(2)]
        answers = [await gateways[number % 2].ask() for number in range(16)]
        assert [answer.status for answer in answers] == [200] * 10 + [429] * 6


async def test_openais_client_knows_the_error_and_reads_the_headers(mesh: ScriptedMesh) -> None:
    asked: dict[str, Any] = {"model": "synthetic", "messages": [{"role": "user", "content": "hello"}]}
    limits: dict[str, Any] = {"requests_per_minute_of": ("local=1",), "tokens_per_minute_of": ("local=900",)}
    async with (
        still(mesh, **limits) as gateway,
        openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client,
    ):
        raw = await client.chat.completions.with_raw_response.create(**asked, max_tokens=100)
        assert raw.headers["x-ratelimit-limit-tokens"] == "900"
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(**asked, max_tokens=100)
    assert (caught.value.code, caught.value.type) == ("rate_limit_exceeded", "requests")
    assert int(caught.value.response.headers["retry-after"]) > 1


# --- tokens ------------------------------------------------------------------------------------------------------


async def remaining_tokens(gateway: HttpGateway) -> int:
    return int(rates(await gateway.get("/v1/models"))["remaining-tokens"])


async def test_tokens_are_reserved_before_and_settled_by_what_was_used(mesh: ScriptedMesh) -> None:
    mesh.pause_after = 1
    async with still(mesh, tokens_per_minute_of=("local=6000",)) as gateway:
        asking = asyncio.create_task(gateway.ask({"max_tokens": 5000}))
        async with asyncio.timeout(LIMIT_S):
            await mesh.paused.wait()
        # Five bytes of a prompt, in a message.
        assert await remaining_tokens(gateway) == 6000 - 5005
        refused = await gateway.ask({"max_tokens": 5000})
        assert await verdict(refused) == (429, "rate_limit_exceeded", "tokens")
        assert refused.headers["Retry-After"] == "41"
        mesh.go.set()
        assert (await asking).status == 200
        # Three for the prompt and two for the answer were used.
        assert await remaining_tokens(gateway) == 5995


def gateway_has(gateway: HttpGateway, tokens: int) -> bool:
    """Whether the account local has so many tokens left."""
    meter = next(iter(gateway.limiter._meters.values()))
    standing = meter.standing("tokens")
    return standing is not None and standing.remaining >= tokens


async def test_a_request_that_comes_twice_at_once_is_charged_once(mesh: ScriptedMesh) -> None:
    mesh.pause_after = 1
    task = new_task_id()
    async with still(mesh, tokens_per_minute_of=("local=60000",)) as gateway:
        asking = [asyncio.create_task(gateway.ask({"max_tokens": 10_000}, x_ig3_task=task)) for _ in range(3)]
        async with asyncio.timeout(LIMIT_S):
            await mesh.paused.wait()
        mesh.go.set()
        assert [await status(each) for each in asking] == [200] * 3
        assert await remaining_tokens(gateway) == 60_000 - 5
    assert len(mesh.submitted) == 1


async def test_what_can_never_fit_is_said_to_be_too_large(mesh: ScriptedMesh) -> None:
    async with still(mesh, tokens_per_minute_of=("local=100",), answer_tokens=90) as gateway:
        refused = await gateway.ask({"max_tokens": 101})
        assert await verdict(refused) == (429, "rate_limit_exceeded", "tokens")
        assert (refused.headers["x-should-retry"], "Retry-After" in refused.headers) == ("false", False)
        assert "Request too large" in (await refused.json())["error"]["message"]
        assert await status(gateway.ask({"max_tokens": None})) == 200
        longer = [{"role": "user", "content": "x" * 80}]
        assert await status(gateway.ask({"max_tokens": None, "messages": longer})) == 429
    assert len(mesh.submitted) == 1


async def test_tokens_are_settled_though_nobody_waits_for_the_answer(mesh: ScriptedMesh) -> None:
    mesh.pause_after = 1
    async with still(mesh, tokens_per_minute_of=("local=60000",)) as gateway:
        stream = await gateway.ask({"max_tokens": 50_000, "stream": True})
        stream.close()
        assert not gateway_has(gateway, 12_000)
        mesh.go.set()
        await until(lambda: gateway_has(gateway, 50_000))


async def test_a_task_that_failed_before_its_first_word_has_used_nothing(mesh: ScriptedMesh) -> None:
    async with still(mesh, tokens_per_minute_of=("local=60000",)) as gateway:
        mesh.words = ()
        assert await status(gateway.ask({"max_tokens": 50_000, "stream": False}, x_ig3_deadline_ms="60000")) == 200
        await until(lambda: gateway_has(gateway, 59_000))


# --- streams -----------------------------------------------------------------------------------------------------


async def test_so_many_streams_may_be_open_and_whole_answers_are_none(mesh: ScriptedMesh) -> None:
    mesh.pause_after = 1
    async with still(mesh, concurrent_streams_of=("local=2",)) as gateway:
        first = await gateway.ask({"stream": True})
        task = first.headers["x-ig3-task"]
        second = await gateway.get(f"/v1/tasks/{task}/events")
        refused = await gateway.ask({"stream": True})
        assert await verdict(refused) == (429, "rate_limit_exceeded", "requests")
        assert refused.headers["Retry-After"] == "1"
        # To go on with a stream opens one as well.
        assert await status(gateway.ask({"stream": True}, x_ig3_task=task, Last_Event_ID="2")) == 429
        assert await status(gateway.get(f"/v1/tasks/{task}/events")) == 429
        whole = asyncio.create_task(gateway.ask())
        mesh.go.set()
        assert (await whole).status == 200
        await read_sse(first)
        # As soon as the client has seen the end, its next stream finds room.
        again = await gateway.ask({"stream": True})
        assert again.status == 200
        await read_sse(again)
        second.close()
    assert len(mesh.submitted) == 3


async def test_one_stream_after_the_other_never_meets_a_limit_of_one(mesh: ScriptedMesh) -> None:
    async with still(mesh, concurrent_streams_of=("local=1",)) as gateway:
        for _ in range(10):
            stream = await gateway.ask({"stream": True})
            assert stream.status == 200
            await read_sse(stream)


async def test_a_client_that_hangs_up_gives_its_place_back(mesh: ScriptedMesh) -> None:
    mesh.pause_after = 1
    async with still(mesh, concurrent_streams_of=("local=1",)) as gateway:
        stream = await gateway.ask({"stream": True})
        stream.close()
        async with asyncio.timeout(LIMIT_S):
            while (again := await gateway.ask({"stream": True})).status == 429:
                pass
        assert again.status == 200
        mesh.go.set()
        await read_sse(again)
