"""Answers that are given again: who gets them, in which form, and who does not."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from gateway.cache.key import Slot
from mesh.access.writer import AccessWriter
from mesh.history.ordered import OrderedReader
from mesh.inspection.account_erasure import AccountErasure
from mesh.inspection.account_export import export_account
from streams.cache.subjects import cache_entry
from streams.tokens import Token
from streams.topology import CACHE, stream_specs
from tests.http_gateway import LIMIT_S, HttpGateway, Json, read_sse, text_of
from tests.integration.cache.conftest import ACME, OTHER, Gateways, caching, had, hits_of, kept, question
from tests.processes import until
from tests.scripted_mesh import ScriptedMesh
from tests.valkey_server import ValkeyServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

STREAM: Json = {"stream": True, "stream_options": {"include_usage": True}}
TEXT = "one two three"


@pytest_asyncio.fixture(loop_scope="module", params=["nats", "redis"])
async def stores(request: pytest.FixtureRequest, mesh: ScriptedMesh, valkey: ValkeyServer) -> Any:
    usual = {"redis_url": valkey.url, "limits_store": "memory"} if request.param == "redis" else {}
    async with AsyncExitStack() as stack:
        yield Gateways(mesh=mesh, stack=stack, usual=usual)


async def slots(mesh: ScriptedMesh, account: Token) -> list[tuple[int, str]]:
    """What stands in the cache of an account: sequence and subject."""
    found: list[tuple[int, str]] = []
    async with OrderedReader(mesh.bus.core, CACHE, filters=(cache_entry(account, Token("*")),)) as reader:
        while not reader.is_caught_up:
            found += [(one.sequence, one.subject) for one in await reader.take(wait_s=LIMIT_S)]
    return found


# --- the same again ----------------------------------------------------------------------------------------------


async def test_an_answer_is_given_again_by_any_gateway_also_by_one_that_was_started_later(
    mesh: ScriptedMesh, stores: Gateways
) -> None:
    body, first = question(), await stores.open()
    task = await kept(first, body)
    for gateway in (first, await stores.open()):
        again = await gateway.ask(body)
        assert (had(again), again.headers["x-ig3-task"]) == ("hit", task)
        answer = await again.json()
        assert answer["id"] == f"chatcmpl-{task}"
        assert answer["choices"][0]["message"]["content"] == TEXT
        assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == answer["usage"]["prompt_tokens"] == 3
    assert len(mesh.submitted) == 1


async def test_a_stream_from_the_cache_has_the_form_of_a_live_one_and_can_be_gone_on_with(
    mesh: ScriptedMesh, stores: Gateways
) -> None:
    gateway, body = await stores.open(), question(**STREAM)
    live = await gateway.ask(body)
    assert had(live) == "miss"
    first = await read_sse(live)
    await caching(gateway).cache.settle()
    again = await gateway.ask(body)
    assert had(again) == "hit"
    second = await read_sse(again)

    assert text_of(second) == text_of(first) == TEXT
    assert second[0] == first[0]
    assert (second[-1].data, second[-1].id) == ("[DONE]", first[-1].id)
    usage = second[-2].json["usage"]
    assert usage.pop("prompt_tokens_details")["cached_tokens"] == 3
    assert usage.items() <= first[-2].json["usage"].items()
    assert set(second[1].json) == set(first[1].json)
    # Any event has the id of its place in the log, so the rest of it can be had by who lost the connection.
    rest = await gateway.ask(body, x_ig3_task=again.headers["x-ig3-task"], Last_Event_ID="3")
    assert had(rest) == "bypass"
    assert text_of(await read_sse(rest)) == "three"
    assert len(mesh.submitted) == 1


async def test_a_whole_answer_serves_who_wants_a_stream_and_the_other_way_round(
    mesh: ScriptedMesh, gateways: Gateways
) -> None:
    gateway, body = await gateways.open(), question()
    await kept(gateway, body)
    again = await gateway.ask({**body, **STREAM})
    assert had(again) == "hit"
    assert text_of(await read_sse(again)) == TEXT
    assert len(mesh.submitted) == 1


async def test_a_question_is_the_same_in_whichever_api_it_is_asked(mesh: ScriptedMesh, gateways: Gateways) -> None:
    gateway, body = await gateways.open(), question(max_tokens=9)
    task = await kept(gateway, body)
    message = await gateway.post("/v1/messages", {**body, "model": "synthetic"}, x_ig3_cache="use")
    assert (had(message), message.headers["x-ig3-task"]) == ("hit", task)
    answer = await message.json()
    assert (answer["type"], answer["content"][0]["text"]) == ("message", TEXT)
    assert answer["usage"]["cache_read_input_tokens"] == 3
    # A response is a thing of its own, which somebody may delete.
    text = body["messages"][0]["content"]
    response = await gateway.post(
        "/v1/responses", {"model": "synthetic", "input": text, "temperature": 0}, x_ig3_cache="use"
    )
    assert had(response) == "bypass"
    await response.read()
    assert len(mesh.submitted) == 2


# --- who may have it ---------------------------------------------------------------------------------------------


async def test_only_what_leaves_nothing_to_chance_or_asks_for_it_is_given_again(gateways: Gateways) -> None:
    gateway = await gateways.open()
    outcomes: list[str] = []
    for fields, headers in (
        ({"temperature": 0}, {}),
        ({"temperature": 0.7, "seed": 1}, {}),
        ({"temperature": 0.7}, {}),
        ({"temperature": None}, {}),
        ({"temperature": 0.7}, {"x_ig3_cache": "use"}),
        ({"temperature": 0}, {"x_ig3_cache": "off"}),
        ({"temperature": 0}, {"Cache_Control": "max-age=5, no-store"}),
        ({"temperature": 0}, {"Idempotency_Key": "k"}),
    ):
        response = await gateway.ask(question(**fields), **headers)
        outcomes.append(had(response))
        await response.read()
    assert outcomes == ["miss", "miss", "bypass", "bypass", "miss", "bypass", "bypass", "bypass"]
    offered = {"tools": [{"type": "function", "function": {"name": "f"}}]}
    assert had(await gateway.ask(question(**offered))) == "bypass"
    assert had(await gateway.ask(question(**offered), x_ig3_cache="use")) == "miss"
    refused = await gateway.ask(question(), x_ig3_cache="perhaps")
    assert (refused.status, (await refused.json())["error"]["param"]) == (400, "x-ig3-cache")


@pytest.mark.parametrize(("mode", "outcomes"), [("opt-in", ("bypass", "miss")), ("off", ("bypass", "bypass"))])
async def test_the_settings_may_leave_it_to_the_request_or_turn_it_off(
    gateways: Gateways, mode: str, outcomes: tuple[str, str]
) -> None:
    gateway = await gateways.open(cache=mode)
    unasked, asked = await gateway.ask(question()), await gateway.ask(question(), x_ig3_cache="use")
    assert (had(unasked), had(asked)) == outcomes


async def test_no_cache_has_the_answer_generated_anew_and_stored(mesh: ScriptedMesh, gateways: Gateways) -> None:
    gateway, body = await gateways.open(), question()
    old = await kept(gateway, body)
    mesh.words = ("another ", "answer")
    fresh = await gateway.ask(body, Cache_Control="no-cache")
    assert had(fresh) == "bypass"
    await fresh.read()
    await caching(gateway).cache.settle()
    again = await gateway.ask(body)
    assert had(again) == "hit"
    assert again.headers["x-ig3-task"] == fresh.headers["x-ig3-task"] != old
    assert (await again.json())["choices"][0]["message"]["content"] == "another answer"


async def test_what_is_too_old_or_too_large_is_generated_again(mesh: ScriptedMesh, gateways: Gateways) -> None:
    brief = await gateways.open(cache_ttl=timedelta(milliseconds=1))
    body = question()
    await kept(brief, body)
    assert had(await brief.ask(body)) == "miss"
    mesh.words = ("long " * 300,)
    narrow = await gateways.open(cache_entry_limit=1024)
    task = await kept(narrow, body := question())
    again = await narrow.ask(body)
    # The claim still names the task that has written it: it is read from there, and not from the cache.
    assert (had(again), again.headers["x-ig3-task"]) == ("miss", task)
    await again.read()
    await caching(narrow).cache.settle()
    assert caching(narrow).counts._stored_bytes == 0


async def key_of(mesh: ScriptedMesh, gateway: HttpGateway, account: Token) -> dict[str, str]:
    """A new key of an account, as the header that shows it."""
    issued = await AccessWriter(mesh.bus.core).issue(account, name="test", rights=("chat", "read"))
    await gateway.access.reach(issued.sequence)
    return {"Authorization": f"Bearer {issued.shown.text}"}


async def test_no_account_has_what_another_has_asked_unless_the_model_is_shared(
    mesh: ScriptedMesh, gateways: Gateways
) -> None:
    gateway = await gateways.open(cache_shared_models=("promised",))
    acme, other = [await key_of(mesh, gateway, account) for account in (ACME, OTHER)]
    await kept(gateway, body := question(), **acme)
    assert had(await gateway.ask(body, **other)) == "miss"

    task = await kept(gateway, shared := question(model="promised"), **acme)
    theirs = await gateway.ask(shared, **other)
    assert had(theirs) == "hit"
    assert "x-ig3-task" not in theirs.headers
    assert task not in await theirs.text()
    own = await gateway.ask(shared, **acme)
    assert (had(own), own.headers["x-ig3-task"]) == ("hit", task)


# --- what is told of it ------------------------------------------------------------------------------------------


async def test_answers_that_were_given_again_are_events(mesh: ScriptedMesh, gateways: Gateways) -> None:
    gateway = await gateways.open()
    acme = await key_of(mesh, gateway, ACME)
    task = await kept(gateway, body := question(), **acme)
    for _ in range(3):
        assert had(await gateway.ask(body, **acme)) == "hit"
    given = [event for event in await hits_of(mesh, ACME, gateway) if event.task == task]
    assert sum(event.times for event in given) == 3
    assert {(event.owner, event.model, event.usage.completion_tokens) for event in given} == {(ACME, "synthetic", 3)}


@pytest.mark.parametrize(("rule", "tokens_left"), [("free", 1000), ("counted", 994)])
async def test_a_hit_is_a_request_and_its_tokens_count_as_the_settings_say(
    gateways: Gateways, rule: str, tokens_left: int
) -> None:
    free, body = await gateways.open(), question()
    await kept(free, body)
    limits = {"requests_per_minute_of": ("local=1000",), "tokens_per_minute_of": ("local=1000",)}
    gateway = await gateways.open(limits_store="memory", cache_tokens=rule, **limits)
    gateway.limiter._clock = lambda: 1_800_000_000_000
    for left in (999, 998):
        response = await gateway.ask(body)
        assert had(response) == "hit"
        assert response.headers["x-ratelimit-remaining-requests"] == str(left)
    expected = 1000 - 2 * (1000 - tokens_left)
    assert response.headers["x-ratelimit-remaining-tokens"] == str(expected)


# --- who is gone -------------------------------------------------------------------------------------------------


async def test_what_is_erased_is_given_to_nobody_and_stands_nowhere(
    mesh: ScriptedMesh, stores: Gateways, valkey: ValkeyServer
) -> None:
    gateway = await stores.open(cache_shared_models=("promised",))
    writer = AccessWriter(mesh.bus.core)
    gone = Token("gone-" + ("redis" if "redis_url" in stores.usual else "nats"))
    await writer.open(gone)
    key = await key_of(mesh, gateway, gone)
    await kept(gateway, body := question(), **key)
    await kept(gateway, shared := question(model="promised"), **key)
    if "redis_url" not in stores.usual:
        lines = [line async for line in export_account(mesh.bus, gone, stream_specs()) if line.stream == CACHE]
        assert any("one two" in str(line.event) for line in lines)

    # Readers hear of an end before its marker is stored (ADR 7).
    erasure = await AccountErasure.begin(mesh.bus, gone, stream_specs())
    while await erasure.open_tasks():
        erasure = await AccountErasure.begin(mesh.bus, gone, stream_specs())
    erased = await erasure.run()
    sequence = await writer.erased(gone, reason="test", at_ms=erasure.at_ms, messages=erased.messages)
    await gateway.access.reach(sequence)
    assert await slots(mesh, gone) == []
    assert had(await gateway.ask(shared)) == "miss"
    assert had(await gateway.ask(body, **key)) == "miss"


async def test_a_closed_account_has_nothing_any_more(mesh: ScriptedMesh, gateways: Gateways) -> None:
    gateway, writer = await gateways.open(), AccessWriter(mesh.bus.core)
    await writer.open(Token("closing"))
    key = await key_of(mesh, gateway, Token("closing"))
    await kept(gateway, body := question(), **key)
    await gateway.access.reach(await writer.close(Token("closing"), reason="test"))
    assert (await gateway.ask(body, **key)).status == 401


# --- what cannot be believed -------------------------------------------------------------------------------------


async def test_what_others_have_put_into_the_store_is_never_given_out(mesh: ScriptedMesh, gateways: Gateways) -> None:
    gateway = await gateways.open()
    acme, other = [await key_of(mesh, gateway, account) for account in (ACME, OTHER)]
    before = {subject for _, subject in await slots(mesh, ACME)}
    await kept(gateway, body := question(), **acme)
    (place,) = {subject for _, subject in await slots(mesh, ACME)} - before
    before = {subject for _, subject in await slots(mesh, OTHER)}
    mesh.words = ("what ", "others ", "have")
    await kept(gateway, body, **other)
    (foreign,) = {subject for _, subject in await slots(mesh, OTHER)} - before
    store = caching(gateway).cache._store
    theirs = (await store.read(Slot(OTHER, Token(foreign.rpartition(".")[2])))).data
    mesh.words = ("one ", "two ", "three")
    for poison in (b"", b"\x00garbage", theirs):
        await mesh.bus.core.append(place, poison)
        response = await gateway.ask(body, **acme)
        assert had(response) == "miss"
        assert (await response.json())["choices"][0]["message"]["content"] == TEXT
        await caching(gateway).cache.settle()
        assert had(await gateway.ask(body, **acme)) == "hit"


async def test_a_store_that_is_away_holds_up_nobody_and_is_used_again_when_it_is_back(
    mesh: ScriptedMesh, caplog: pytest.LogCaptureFixture, gateways: Gateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.cache.store.LOOK_EVERY_S", 0.05)
    with ValkeyServer() as server:
        gateway = await gateways.open(redis_url=server.url, limits_store="memory")
        await kept(gateway, body := question())
        server.stop()
        for _ in range(3):
            response = await gateway.ask(body)
            assert had(response) == "bypass"
            await response.read()
        assert len([record for record in caplog.records if "the store of answers is away" in record.message]) == 1
        server.start()
        await until(lambda: not caching(gateway).cache.is_away)
        # It has forgotten everything, as Redis may.
        await kept(gateway, body)
        assert had(await gateway.ask(body)) == "hit"
    assert len(mesh.submitted) == 5


async def test_a_store_that_hangs_is_waited_for_once(
    mesh: ScriptedMesh, caplog: pytest.LogCaptureFixture, gateways: Gateways
) -> None:
    with ValkeyServer() as server:
        gateway = await gateways.open(
            redis_url=server.url, limits_store="memory", cache_patience=timedelta(milliseconds=50)
        )
        server.freeze()
        async with asyncio.timeout(LIMIT_S):
            responses = [await gateway.ask(question()) for _ in range(5)]
        assert [had(response) for response in responses] == ["bypass"] * 5
        assert len([record for record in caplog.records if "the store of answers is away" in record.message]) == 1
    assert len(mesh.submitted) == 5
