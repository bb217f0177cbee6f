"""The same request under the same key is one task and one answer, byte for byte, whoever is asked and whatever died."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import openai
import pytest

from gateway.intake.idempotency import body_digest, key_digest
from mesh.errors import PublishUnknown, SubjectTaken
from streams import subjects
from streams.codec import encode
from streams.events import RequestKeyed, TaskError
from streams.messages import AccountBacklog, Backlog
from streams.tasks.task_id import new_task_id
from streams.tokens import Token
from tests.http_gateway import LIMIT_S, MODEL, HttpGateway, chat, read_sse, serve_http
from tests.scripted_mesh import LOCAL, WORDS, ScriptedMesh, scripted_mesh

pytestmark = pytest.mark.usefixtures("patient_answers")

TEXT = "".join(WORDS)
PATH = "/v1/chat/completions"


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[ScriptedMesh]:
    async with scripted_mesh(tmp_path) as running:
        await running.bus.follow()
        yield running


@pytest.fixture
async def gateway(mesh: ScriptedMesh) -> AsyncIterator[HttpGateway]:
    async with serve_http(mesh.bus) as serving:
        yield serving


@pytest.fixture
async def other(mesh: ScriptedMesh) -> AsyncIterator[HttpGateway]:
    async with serve_http(mesh.bus) as serving:
        yield serving


async def bytes_of(gateway: HttpGateway, key: str, **body: object) -> tuple[str, bytes]:
    """The task and the body of an answer."""
    response = await gateway.ask(body, Idempotency_Key=key)
    assert response.status == 200
    return response.headers["x-ig3-task"], await response.read()


async def raw(gateway: HttpGateway, body: bytes, key: str) -> tuple[int, str]:
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    response = await gateway.session.post(f"{gateway.url}{PATH}", data=body, headers=headers)
    return response.status, (await response.json()).get("error", {}).get("code", "")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_repeat_gets_the_stored_answer_byte_for_byte_from_any_gateway(
    mesh: ScriptedMesh, gateway: HttpGateway, other: HttpGateway, stream: bool
) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    first = await bytes_of(gateway, "k", **options)
    assert await bytes_of(gateway, "k", **options) == first
    assert await bytes_of(other, "k", **options) == first
    assert len(mesh.submitted) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_repeat_joins_the_running_answer(
    mesh: ScriptedMesh, gateway: HttpGateway, other: HttpGateway, stream: bool
) -> None:
    mesh.pause_after = 3
    asking = [asyncio.create_task(bytes_of(gateway, "k", stream=stream))]
    await mesh.paused.wait()
    asking += [asyncio.create_task(bytes_of(each, "k", stream=stream)) for each in (gateway, other, other)]
    mesh.go.set()
    async with asyncio.timeout(LIMIT_S):
        answers = await asyncio.gather(*asking)
    assert len(set(answers)) == 1
    assert len(mesh.submitted) == 1


async def test_many_at_once_at_two_gateways_are_one_task(
    mesh: ScriptedMesh, gateway: HttpGateway, other: HttpGateway
) -> None:
    asking = [bytes_of(each, f"k{number}") for number in range(5) for each in (gateway, other) * 4]
    answers = await asyncio.gather(*asking)
    assert len({task for task, _ in answers}) == 5
    assert len(mesh.submitted) == 5


@pytest.mark.parametrize(
    "change", [{"stream": True}, {"temperature": 0}, {"messages": [{"role": "user", "content": "x"}]}]
)
async def test_the_same_key_with_another_body_is_a_conflict(
    mesh: ScriptedMesh, gateway: HttpGateway, other: HttpGateway, change: dict[str, object]
) -> None:
    await bytes_of(gateway, "k")
    response = await other.ask(change, Idempotency_Key="k")
    error = (await response.json())["error"]
    assert (response.status, error["code"], error["type"]) == (409, "idempotency_key_reused", "invalid_request_error")
    assert error["param"] == "Idempotency-Key"
    assert len(mesh.submitted) == 1


async def test_bodies_are_compared_byte_by_byte(gateway: HttpGateway) -> None:
    body = b'{"model":"synthetic","messages":[{"role":"user","content":"hello"}]}'
    assert await raw(gateway, body, "k") == (200, "")
    assert await raw(gateway, body, "k") == (200, "")
    assert await raw(gateway, body.replace(b":", b": "), "k") == (409, "idempotency_key_reused")


async def test_other_keys_and_none_are_other_tasks(mesh: ScriptedMesh, gateway: HttpGateway) -> None:
    answers = [await bytes_of(gateway, key) for key in ("a", "b", "A", "a b")]
    response = await gateway.ask()
    assert len({task for task, _ in answers} | {response.headers["x-ig3-task"]}) == 5
    assert len(mesh.submitted) == 5


async def test_a_gateway_that_died_behind_its_key_is_healed_by_the_repeat(
    mesh: ScriptedMesh, gateway: HttpGateway
) -> None:
    task, sent = new_task_id(), json.dumps(chat()).encode()
    keyed = RequestKeyed(at_ms=0, task=task, body_digest=body_digest(PATH, sent))
    await mesh.bus.core.append(subjects.request_key(LOCAL, key_digest("k")), encode(keyed))
    assert (await bytes_of(gateway, "k"))[0] == task
    assert (await bytes_of(gateway, "k"))[0] == task
    assert len(mesh.submitted) == 1


async def test_the_key_is_stored_before_the_task(mesh: ScriptedMesh, gateway: HttpGateway) -> None:
    order: list[str] = []
    await mesh.bus.core.listen("keys.>", lambda _: order.append("key"))
    await mesh.bus.edge.listen("tasks.>", lambda _: order.append("task"))
    await bytes_of(gateway, "k")
    assert order == ["key", "task"]


async def test_a_task_of_the_clients_own_goes_with_a_key(mesh: ScriptedMesh, gateway: HttpGateway) -> None:
    task = new_task_id()
    assert (await gateway.ask(Idempotency_Key="k", x_ig3_task=task)).headers["x-ig3-task"] == task
    assert (await bytes_of(gateway, "k"))[0] == task
    response = await gateway.ask(Idempotency_Key="k", x_ig3_task=new_task_id())
    assert (response.status, (await response.json())["error"]["code"]) == (409, "idempotency_key_reused")
    assert len(mesh.submitted) == 1


async def test_a_key_and_a_counter_give_the_rest(gateway: HttpGateway, other: HttpGateway) -> None:
    whole = await read_sse(await gateway.ask({"stream": True}, Idempotency_Key="k"))
    seen = [event for event in whole if event.id][:7]
    rest = await read_sse(await other.ask({"stream": True}, Idempotency_Key="k", Last_Event_ID=str(seen[-1].id)))
    assert rest == whole[whole.index(seen[-1]) + 1 :]


async def test_the_answer_of_a_failed_task_is_its_error_again(mesh: ScriptedMesh, gateway: HttpGateway) -> None:
    mesh.words = ("word",)
    mesh.error = TaskError(code="node_lost", message="The node is gone.", status=502)
    first, again = [await gateway.ask(Idempotency_Key="k") for _ in range(2)]
    assert (first.status, again.status) == (502, 502)
    assert await first.read() == await again.read()
    assert first.headers["x-ig3-task"] == again.headers["x-ig3-task"]


@pytest.mark.parametrize("key", ["", "x" * 256, "ümlaut", "tab\there"])
async def test_what_cannot_be_a_key_is_refused(mesh: ScriptedMesh, gateway: HttpGateway, key: str) -> None:
    response = await gateway.ask(Idempotency_Key=key)
    error = (await response.json())["error"]
    assert (response.status, error["code"], error["param"]) == (400, "invalid_value", "Idempotency-Key")
    assert mesh.submitted == []


async def test_the_longest_key_works(gateway: HttpGateway) -> None:
    await bytes_of(gateway, "~" * 255)


async def test_what_was_accepted_is_answered_however_full_the_mesh_is(mesh: ScriptedMesh, gateway: HttpGateway) -> None:
    first = await bytes_of(gateway, "k")
    mesh.backlog = Backlog(at_ms=0, interval_s=60, accounts=(AccountBacklog(account=LOCAL, running=10_000),))
    async with asyncio.timeout(LIMIT_S):
        while (refused := await gateway.ask()).status == 200:
            mesh.report()
    assert refused.status == 429
    assert (await gateway.ask(Idempotency_Key="new")).status == 429
    assert await bytes_of(gateway, "k") == first
    mesh.backlog = Backlog(at_ms=0, interval_s=60)
    async with asyncio.timeout(LIMIT_S):
        while (taken := await gateway.ask(Idempotency_Key="new")).status == 429:
            mesh.report()
    assert taken.status == 200


async def test_the_key_means_nothing_to_another_account(mesh: ScriptedMesh, gateway: HttpGateway) -> None:
    keys = gateway.bus.core
    theirs = RequestKeyed(at_ms=0, task=new_task_id(), body_digest="x")
    await keys.append(subjects.request_key(Token("somebody"), key_digest("k")), encode(theirs))
    assert (await bytes_of(gateway, "k"))[0] != theirs.task


async def test_openais_client_sends_a_key_as_a_header(mesh: ScriptedMesh, gateway: HttpGateway) -> None:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=3) as client:
        answers = [
            await client.chat.completions.create(
                model=MODEL,
                messages=[{"role": "user", "content": "hello"}],
                extra_headers={"Idempotency-Key": "k"},
            )
            for _ in range(2)
        ]
        with pytest.raises(openai.ConflictError) as caught:
            await client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "x"}], extra_headers={"Idempotency-Key": "k"}
            )
    assert answers[0] == answers[1]
    assert caught.value.code == "idempotency_key_reused"
    assert len(mesh.submitted) == 1


async def test_the_broker_keeps_the_first_of_a_key_whatever_a_second_says(mesh: ScriptedMesh) -> None:
    subject = subjects.request_key(LOCAL, key_digest("k"))
    first = RequestKeyed(at_ms=0, task=new_task_id(), body_digest="x")
    await mesh.bus.core.append(subject, encode(first))
    with pytest.raises(SubjectTaken):
        await mesh.bus.core.append(subject, encode(first))


async def test_an_acknowledgement_that_is_lost_is_asked_for_again(
    mesh: ScriptedMesh, gateway: HttpGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    core, lost = gateway.bus.core, []
    append = core.append

    async def lose_the_first(subject: str, data: bytes, timeout: timedelta = timedelta(seconds=5)) -> int:
        sequence = await append(subject, data, timeout=timeout)
        if subject.startswith("keys.") and not lost:
            lost.append(subject)
            raise PublishUnknown("lost")
        return sequence

    monkeypatch.setattr(core, "append", lose_the_first)
    first = await bytes_of(gateway, "k")
    assert lost
    assert await bytes_of(gateway, "k") == first
    assert len(mesh.submitted) == 1
