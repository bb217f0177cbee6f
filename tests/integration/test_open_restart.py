"""An answer that begins again on another node: what was written before is void, and every reader takes it back."""

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from rich.console import Console

from mesh.bus.answer import AnswerText, follow
from mesh.client.chat_session import ChatSession
from mesh.client.client import Client, SubmitOptions, open_client
from mesh.client.sync import SyncClient
from mesh.errors import MeshError
from mesh.processes.terminal import Terminal
from streams.events import TaskAssigned
from streams.subjects import TaskKey
from streams.tasks.task_id import new_task_id
from streams.tokens import Token
from tests.bridge_server import serve_bridge
from tests.http_gateway import LIMIT_S, HttpGateway, Sse, read_sse, serve_http, sse_events, text_of
from tests.processes import until
from tests.scripted_mesh import VOID, WORDS, ScriptedMesh, scripted_mesh

TEXT = "".join(WORDS)
WRITTEN_IN_VAIN = 3
RESTARTED_AT = WRITTEN_IN_VAIN + 3


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[ScriptedMesh]:
    async with scripted_mesh(tmp_path) as running:
        running.restart_after = WRITTEN_IN_VAIN
        await running.bus.follow()
        yield running


@pytest.fixture
async def gateway(mesh: ScriptedMesh) -> AsyncIterator[HttpGateway]:
    async with serve_http(mesh.bus) as serving:
        yield serving


@pytest.fixture
async def client(mesh: ScriptedMesh) -> AsyncIterator[Client]:
    async with await open_client(mesh.user) as connected:
        yield connected


async def text_so_far(events: AsyncIterator[Sse], wanted: str) -> list[Sse]:
    """Read a stream until it has said so much."""
    seen: list[Sse] = []
    async with asyncio.timeout(LIMIT_S):
        while text_of(seen) != wanted:
            seen.append(await anext(events))
    return seen


async def ended_task(mesh: ScriptedMesh, gateway: HttpGateway) -> str:
    """A task whose answer has begun again and is whole."""
    mesh.restart.set()
    return (await gateway.ask()).headers["x-ig3-task"]


async def test_a_whole_answer_is_what_came_after_the_restart(mesh: ScriptedMesh, gateway: HttpGateway) -> None:
    mesh.restart.set()
    answer = await (await gateway.ask()).json()
    assert answer["choices"][0]["message"]["content"] == TEXT


async def test_a_stream_that_has_sent_text_ends_with_an_error_that_says_where_the_answer_is(
    mesh: ScriptedMesh, gateway: HttpGateway
) -> None:
    response = await gateway.ask({"stream": True})
    task = response.headers["x-ig3-task"]
    events = sse_events(response)
    await text_so_far(events, VOID * WRITTEN_IN_VAIN)
    mesh.restart.set()
    rest = [event async for event in events]
    assert [event.id for event in rest] == [str(RESTARTED_AT)]
    error = rest[0].json["error"]
    assert (error["code"], error["type"]) == ("answer_restarted", "server_error")
    assert f"x-ig3-task: {task}" in error["message"]
    assert f"/v1/tasks/{task}/events" in error["message"]


async def test_the_same_request_gets_the_whole_answer_afterwards(mesh: ScriptedMesh, gateway: HttpGateway) -> None:
    task = await ended_task(mesh, gateway)
    events = await read_sse(await gateway.ask({"stream": True}, x_ig3_task=task))
    assert text_of(events) == TEXT
    assert events[-1].data == "[DONE]"


async def test_a_stream_that_has_sent_nothing_yet_goes_on_as_if_nothing_had_happened(
    mesh: ScriptedMesh, gateway: HttpGateway
) -> None:
    mesh.restart_after = 0
    mesh.restart.set()
    events = await read_sse(await gateway.ask({"stream": True}))
    assert text_of(events) == TEXT
    assert events[0].json["choices"][0]["delta"]["role"] == "assistant"


@pytest.mark.parametrize(
    ("after", "told"),
    [(2, "answer_restarted"), (RESTARTED_AT - 1, "answer_restarted"), (RESTARTED_AT, TEXT)],
)
async def test_whoever_goes_on_is_told_if_what_it_has_is_void(
    mesh: ScriptedMesh, gateway: HttpGateway, after: int, told: str
) -> None:
    task = await ended_task(mesh, gateway)
    events = await read_sse(await gateway.ask({"stream": True}, x_ig3_task=task, Last_Event_ID=str(after)))
    assert events[0].json.get("error", {}).get("code") == told or text_of(events) == told


async def test_the_events_of_the_task_have_the_marker(mesh: ScriptedMesh, gateway: HttpGateway) -> None:
    task = await ended_task(mesh, gateway)
    events = await read_sse(await gateway.get(f"/v1/tasks/{task}/events"))
    marker = events[RESTARTED_AT - 1].json
    assert (marker["type"], marker["seam"], marker["n"]) == ("task.assigned.v1", "restarted", RESTARTED_AT)
    summary = await (await gateway.get(f"/v1/tasks/{task}")).json()
    assert (summary["chars"], summary["node"]) == (len(TEXT), "n2")


async def test_the_websocket_has_the_marker_and_a_view_without_the_void_text(mesh: ScriptedMesh) -> None:
    mesh.words = ("anew",)
    async with serve_http(mesh.bus) as gateway:
        task = await ended_task(mesh, gateway)
    async with serve_bridge(mesh.bus) as server, server.connect() as socket:
        await socket.send(type="subscribe", id=1, topic="task", task=task)
        await socket.until_type("over")
        seams = [event.get("seam") for event in socket.events(task) if event["type"] == "task.assigned.v1"]
        assert seams == [None, "restarted"]
        await socket.send(type="subscribe", id=2, topic="tasks")
        view = (await socket.until_type("tasks"))["tasks"][0]
        assert (view["tail"], view["chars"]) == ("anew", 4)


async def test_the_client_says_where_the_text_so_far_is_void(mesh: ScriptedMesh, client: Client) -> None:
    answer = await client.submit("m", "hello")
    pieces = aiter(answer)
    begun = [await anext(pieces) for _ in range(WRITTEN_IN_VAIN)]
    mesh.restart.set()
    rest = [piece async for piece in pieces]
    assert [piece.text for piece in begun] == [VOID] * WRITTEN_IN_VAIN
    assert (rest[0].restarts, rest[0].text, rest[0].n) == (True, "", RESTARTED_AT)
    assert "".join(piece.text for piece in rest) == TEXT
    assert not any(piece.restarts for piece in rest[1:])
    assert (await answer.result()).text == TEXT


async def test_a_client_that_comes_late_never_sees_the_void_text(mesh: ScriptedMesh, client: Client) -> None:
    mesh.restart.set()
    first = await client.submit("m", "hello")
    await first.result()
    late = [piece async for piece in first]
    assert not any(piece.restarts for piece in late)
    assert "".join(piece.text for piece in late) == TEXT
    resumed = await client.resume(first.task, after=2)
    await resumed.result()
    assert [piece.restarts for piece in [piece async for piece in resumed]][:2] == [True, False]


async def test_the_text_of_a_failed_answer_is_only_what_counts(mesh: ScriptedMesh, client: Client) -> None:
    answer = await client.submit("m", "hello")
    mesh.restart.set()
    mesh.pause_after = 1
    await mesh.paused.wait()
    await answer.cancel()
    assert (await answer.result(check=False)).text == WORDS[0]


async def test_readers_of_the_bus_fold_it_too(mesh: ScriptedMesh, gateway: HttpGateway) -> None:
    task = await ended_task(mesh, gateway)
    text = AnswerText()
    async for steps in follow(mesh.bus.source, TaskKey(Token("local"), Token(task))):
        text.take(steps)
    assert str(text) == TEXT


async def test_the_sync_client_hands_the_flag_on(mesh: ScriptedMesh) -> None:
    mesh.restart.set()

    def ask() -> str:
        with SyncClient(mesh.user) as client:
            task = new_task_id()
            client.submit("m", "hello", task=task).result()
            text = ""
            for piece in client.resume(task, after=2):
                text = piece.text if piece.restarts else text + piece.text
            return text

    assert await asyncio.to_thread(ask) == TEXT


async def test_only_an_assignment_that_says_so_restarts(mesh: ScriptedMesh, gateway: HttpGateway) -> None:
    task = await ended_task(mesh, gateway)
    steps = [step async for steps in follow(mesh.bus.source, TaskKey(Token("local"), Token(task))) for step in steps]
    assert [step.state.n for step in steps if step.restarts] == [RESTARTED_AT]
    assert sum(isinstance(step.event, TaskAssigned) for step in steps) == 2


async def converse(mesh: ScriptedMesh, monkeypatch: pytest.MonkeyPatch, *, at_terminal: bool) -> str:
    """Ask as `ig3 chat` does; returns what stands on standard error."""
    told = io.StringIO()
    screen = Terminal()
    monkeypatch.setattr(screen, "out", Console(file=io.StringIO(), force_terminal=at_terminal))
    monkeypatch.setattr(screen, "err", Console(file=told, width=200))

    def ask() -> None:
        with SyncClient(mesh.user) as client:
            ChatSession(client, screen, "m", SubmitOptions()).ask("hello")

    asking = asyncio.create_task(asyncio.to_thread(ask))
    await until(lambda: len(mesh.submitted) == 1)
    mesh.restart.set()
    await asking
    return told.getvalue()


async def test_a_chat_at_a_terminal_says_so_and_writes_the_answer_again(
    mesh: ScriptedMesh, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = await converse(mesh, monkeypatch, at_terminal=True)
    written = capsys.readouterr().out
    assert "the answer begins again: what was written so far is void" in told
    assert written.splitlines()[-1] == TEXT
    assert written.startswith(VOID)


async def test_a_chat_into_a_pipe_fails_rather_than_leave_a_wrong_answer_there(
    mesh: ScriptedMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MeshError, match="ig3 tasks show --follow"):
        await converse(mesh, monkeypatch, at_terminal=False)
