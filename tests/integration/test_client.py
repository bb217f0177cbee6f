"""The public client, with a user's rights, against real events on a real broker."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

import mesh
from mesh.client.client import Client, open_client
from mesh.errors import CredentialsError, PublishRefused
from streams.errors import InvalidTaskId
from streams.events import TaskAssigned, TaskEnded, TaskError
from streams.tasks.chat import Message, Usage
from streams.tasks.task_id import new_task_id
from streams.tokens import Token
from tests.processes import until
from tests.scripted_mesh import WORDS, ScriptedMesh, scripted_mesh

MODEL = "some-model"
TEXT = "".join(WORDS)


@pytest.fixture
async def the_mesh(tmp_path: Path) -> AsyncIterator[ScriptedMesh]:
    async with scripted_mesh(tmp_path) as running:
        yield running


@pytest.fixture
async def client(the_mesh: ScriptedMesh) -> AsyncIterator[Client]:
    async with await open_client(the_mesh.user) as connected:
        yield connected


async def test_five_lines_give_an_answer(the_mesh: ScriptedMesh) -> None:
    seed = the_mesh.folder / "credentials/user.nk"
    async with await mesh.connect(the_mesh.url, account="local", seed_file=seed) as client:
        answer = await client.submit(MODEL, "Why is the sky blue?", max_tokens=64)
        text = "".join([piece.text async for piece in answer])
    assert text == TEXT
    assert the_mesh.submitted[0].messages == (Message(role="user", content="Why is the sky blue?"),)
    assert the_mesh.submitted[0].sampling.max_tokens == 64


async def test_the_data_folder_of_a_mesh_on_this_machine_is_enough(
    the_mesh: ScriptedMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IG3_NATS", the_mesh.url)
    monkeypatch.setenv("IG3_DATA_DIR", str(the_mesh.folder))
    async with await mesh.connect() as client:
        assert (await (await client.submit(MODEL, "hello")).result()).text == TEXT


async def test_text_arrives_before_the_answer_is_complete(the_mesh: ScriptedMesh, client: Client) -> None:
    the_mesh.pause_after = 5
    answer = await client.submit(MODEL, "hello")
    pieces = aiter(answer)
    assert [(await anext(pieces)).text for _ in range(5)] == list(WORDS[:5])
    assert not answer.state.is_over
    the_mesh.go.set()
    assert [piece.text async for piece in pieces] == list(WORDS[5:])


async def test_the_result_is_typed_and_whole(client: Client) -> None:
    result = await (await client.submit(MODEL, [Message(role="user", content="hello")])).result()
    assert (result.outcome, result.text, result.finish_reason, result.node) == ("completed", TEXT, "stop", "n1")
    assert result.usage == Usage(prompt_tokens=3, completion_tokens=40)


async def test_events_are_the_valid_ones_in_order(client: Client) -> None:
    answer = await client.submit(MODEL, "hello")
    steps = [step async for step in answer.events()]
    assert [step.event.n for step in steps] == list(range(1, 43))
    assert isinstance(steps[0].event, TaskAssigned)
    assert isinstance(steps[-1].event, TaskEnded)


async def test_a_repeat_with_the_same_id_attaches_to_the_first(the_mesh: ScriptedMesh, client: Client) -> None:
    task = new_task_id()
    first = await client.submit(MODEL, "hello", task=task)
    await first.result()
    second = await client.submit(MODEL, "something else", task=task)
    assert (await second.result()).text == TEXT
    assert len(the_mesh.submitted) == 1


async def test_resume_goes_on_behind_what_was_read(the_mesh: ScriptedMesh, client: Client) -> None:
    the_mesh.pause_after = 10
    async with await client.submit(MODEL, "hello") as answer:
        pieces = aiter(answer)
        seen = [await anext(pieces) for _ in range(10)]
    the_mesh.go.set()
    async with await open_client(the_mesh.user) as other:
        rest = [piece.text async for piece in await other.resume(answer.task, after=seen[-1].n)]
    assert [piece.text for piece in seen] + rest == list(WORDS)


async def test_an_answer_that_ended_long_ago_is_resumed_page_by_page(the_mesh: ScriptedMesh, client: Client) -> None:
    answer = await client.submit(MODEL, "hello")
    await answer.result()
    assert the_mesh.page_size < len(WORDS)
    assert (await (await client.resume(answer.task)).result()).text == TEXT


async def test_resuming_what_nobody_submitted_is_refused(client: Client) -> None:
    answer = await client.resume(new_task_id())
    with pytest.raises(mesh.TaskRefused, match="there is no task") as refusal:
        await answer.result()
    assert (refusal.value.code, refusal.value.status) == ("task_not_found", 404)


async def test_a_failed_task_raises_with_its_code_and_keeps_what_was_written(
    the_mesh: ScriptedMesh, client: Client
) -> None:
    the_mesh.error = TaskError(code="node_lost", message="the node n1 left", status=503)
    answer = await client.submit(MODEL, "hello")
    with pytest.raises(mesh.TaskFailedError, match="the node n1 left") as failure:
        [piece async for piece in answer]
    assert (failure.value.code, failure.value.status, failure.value.text) == ("node_lost", 503, TEXT)
    result = await answer.result(check=False)
    assert (result.outcome, result.error) == ("failed", the_mesh.error)


async def test_a_cancelled_answer_ends_and_says_so(the_mesh: ScriptedMesh, client: Client) -> None:
    the_mesh.pause_after = 5
    answer = await client.submit(MODEL, "hello")
    await the_mesh.paused.wait()
    assert (await answer.cancel()).outcome == "cancelled"
    with pytest.raises(mesh.TaskCancelledError) as cancelled:
        await answer.result()
    assert cancelled.value.text == "".join(WORDS[:5])


async def test_two_may_read_one_answer_and_one_may_give_up(the_mesh: ScriptedMesh, client: Client) -> None:
    the_mesh.pause_after = 5
    answer = await client.submit(MODEL, "hello")
    await the_mesh.paused.wait()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await answer.result()
    the_mesh.go.set()
    texts = await asyncio.gather(answer.result(), answer.result())
    assert [result.text for result in texts] == [TEXT, TEXT]


async def test_a_killed_broker_leaves_no_gap_and_no_repeat(the_mesh: ScriptedMesh, client: Client) -> None:
    the_mesh.pause_after = 10
    answer = await client.submit(MODEL, "hello")
    pieces = aiter(answer)
    texts = [(await anext(pieces)).text for _ in range(10)]
    the_mesh.go.set()
    await the_mesh.broker.kill()
    texts += [piece.text async for piece in pieces]
    assert texts == list(WORDS)


async def test_an_outage_of_the_broker_leaves_no_gap_and_no_repeat(the_mesh: ScriptedMesh, client: Client) -> None:
    the_mesh.pause_after = 10
    answer = await client.submit(MODEL, "hello")
    pieces = aiter(answer)
    texts = [(await anext(pieces)).text for _ in range(10)]
    await the_mesh.broker.stop()
    the_mesh.go.set()
    await until(lambda: not client._link.is_connected)
    await asyncio.sleep(0.5)
    await the_mesh.broker.start()
    texts += [piece.text async for piece in pieces]
    assert texts == list(WORDS)


async def test_what_live_delivery_lost_is_asked_for(the_mesh: ScriptedMesh, client: Client) -> None:
    # The client's connection alone is cut while the mesh goes on writing.
    the_mesh.pause_after = 10
    answer = await client.submit(MODEL, "hello")
    await the_mesh.paused.wait()
    await client._link.client.force_reconnect()
    the_mesh.go.set()
    assert (await answer.result()).text == TEXT
    assert the_mesh.questions


async def test_a_submission_is_repeated_until_the_broker_is_back(
    the_mesh: ScriptedMesh, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []
    append = client._link.append

    async def counted(subject: str, data: bytes, timeout: timedelta) -> int:
        tries.append(subject)
        return await append(subject, data, timeout=timeout)

    monkeypatch.setattr(client._link, "append", counted)
    monkeypatch.setattr("mesh.client.client._SUBMIT_TIMEOUT", timedelta(milliseconds=300))
    await the_mesh.broker.stop()
    submitting = asyncio.create_task(client.submit(MODEL, "hello"))
    await until(lambda: len(tries) > 1)
    assert not submitting.done()
    await the_mesh.broker.start()
    assert (await (await submitting).result()).text == TEXT
    assert len(the_mesh.submitted) == 1


async def test_a_broker_that_was_away_for_long_may_need_a_moment_for_its_streams(
    the_mesh: ScriptedMesh, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, passed_s, tries = client._link.append, [1.0], list[str]()

    async def refused_at_first(subject: str, data: bytes, timeout: timedelta) -> int:
        tries.append(subject)
        passed_s[0] += 10 if len(tries) == 1 else 0
        if len(tries) <= 2:
            raise PublishRefused("no stream takes it")
        return await append(subject, data, timeout=timeout)

    monkeypatch.setattr(client._link, "append", refused_at_first)
    monkeypatch.setattr("mesh.client.client.time", SimpleNamespace(monotonic=lambda: passed_s[0]))
    assert (await (await client.submit(MODEL, "hello")).result()).text == TEXT
    assert len(tries) == 3


async def test_patience_ends_with_a_clear_error(the_mesh: ScriptedMesh) -> None:
    the_mesh.is_silent = True
    options = msgspec.structs.replace(the_mesh.user, patience=timedelta(seconds=1))
    async with await open_client(options) as client:
        answer = await client.resume(new_task_id())
        with pytest.raises(mesh.BusUnavailable, match="does a dispatcher run"):
            await answer.result()


async def test_closing_the_client_ends_who_waits(the_mesh: ScriptedMesh, client: Client) -> None:
    the_mesh.pause_after = 1
    answer = await client.submit(MODEL, "hello")
    waiting = asyncio.create_task(answer.result())
    await the_mesh.paused.wait()
    await client.close()
    with pytest.raises(mesh.BusUnavailable, match="resume"):
        await waiting


async def test_another_account_is_refused_at_once(the_mesh: ScriptedMesh) -> None:
    options = msgspec.structs.replace(the_mesh.user, account=Token("stranger"))
    with pytest.raises(CredentialsError, match="may not read account 'stranger'"):
        await open_client(options)


@pytest.mark.parametrize(
    "options", [{"temperature": 9.0}, {"max_tokens": 0}, {"urgency": "at once"}, {"stop": ("",)}], ids=str
)
async def test_malformed_options_never_reach_the_bus(client: Client, options: dict) -> None:
    with pytest.raises(mesh.TaskRefused) as refusal:
        await client.submit(MODEL, "hello", **options)
    assert refusal.value.status == 400


async def test_a_task_that_is_too_large_is_refused(client: Client) -> None:
    with pytest.raises(mesh.TaskRefused, match="1048576 bytes") as refusal:
        await client.submit(MODEL, "x" * 2**20)
    assert refusal.value.status == 413


async def test_an_id_that_is_none_is_refused(client: Client) -> None:
    with pytest.raises(InvalidTaskId):
        await client.submit(MODEL, "hello", task="not-an-id")


async def test_options_travel_with_the_task(the_mesh: ScriptedMesh, client: Client) -> None:
    answer = await client.submit(MODEL, "hello", seed=7, stop=("\n",), urgency="batch", deadline=timedelta(minutes=5))
    await answer.result()
    submitted = the_mesh.submitted[0]
    assert (submitted.sampling.seed, submitted.sampling.stop) == (7, ("\n",))
    assert submitted.deadline_at_ms is not None


async def test_watch_tells_of_all_tasks_of_the_account(client: Client) -> None:
    with client.watch() as watch:
        tasks = {(await client.submit(MODEL, f"question {number}")).task for number in range(3)}
        told: dict[str, list[int]] = {task: [] for task in tasks}
        over: set[str] = set()
        async for step in watch:
            told[step.task].append(step.event.n)
            if step.state.is_over:
                over.add(step.task)
            if over == tasks:
                break
    assert set(map(tuple, told.values())) == {tuple(range(1, 43))}


async def test_watch_begins_now_and_fills_what_a_reconnect_lost(the_mesh: ScriptedMesh, client: Client) -> None:
    the_mesh.pause_after = 10
    answer = await client.submit(MODEL, "hello")
    await the_mesh.paused.wait()
    # What is live comes behind what is stored: once this client has heard it, it does not come again.
    async for step in answer.events():
        if step.event.n == 11:
            break
    with client.watch() as watch:
        await the_mesh.broker.kill()
        the_mesh.go.set()
        counters = []
        async for step in watch:
            counters.append(step.event.n)
            if step.state.is_over:
                break
    # The eleven events before it was opened are not told.
    assert counters == list(range(counters[0], 43))
    assert counters[0] >= 12
