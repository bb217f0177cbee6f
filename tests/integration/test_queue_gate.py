"""Queues have an end: whoever asks too much is told so at once, with a time to come back, and nothing is stored."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import openai
import pytest
from aiohttp import ClientResponse

from streams.messages import AccountBacklog, Backlog, ModelBacklog
from tests.http_gateway import LIMIT_S, MODEL, HttpGateway, read_sse, serve_http
from tests.mesh_in_process import InProcessMesh
from tests.patient_links import wait_for_answers
from tests.processes import until
from tests.scripted_mesh import LOCAL, ScriptedMesh, scripted_mesh

Refused = tuple[int, str, str, int]


@pytest.fixture(autouse=True)
def answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer of the broker counts as lost because this machine is slow."""
    wait_for_answers(monkeypatch)


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[ScriptedMesh]:
    async with scripted_mesh(tmp_path) as running:
        await running.bus.follow()
        yield running


def held(*, running: int = 0, waiting: int = 0, ended_per_s: float = 0, interval_s: float = 60) -> Backlog:
    return Backlog(
        at_ms=0,
        interval_s=interval_s,
        accounts=(AccountBacklog(account=LOCAL, running=running, waiting=waiting),),
        models=(ModelBacklog(model=MODEL, service_class="interactive", waiting=waiting, ended_per_s=ended_per_s),),
    )


async def verdict(response: ClientResponse) -> Refused:
    error = (await response.json())["error"]
    return response.status, error["code"], error["type"], int(response.headers["Retry-After"])


async def heard(gateway: HttpGateway, mesh: ScriptedMesh, backlog: Backlog) -> None:
    """Have the gateway hear once what the dispatcher holds; it is believed for as long as a test takes."""
    mesh.backlog = backlog
    told = asyncio.Event()
    gate = gateway.gate

    def notice(_: str) -> None:
        if gate.feed.backlogs.totals.open_of == {one.account: one.running + one.waiting for one in backlog.accounts}:
            told.set()

    gate.feed.subscribe(notice)
    mesh.report()
    mesh.backlog = None
    async with asyncio.timeout(LIMIT_S):
        await told.wait()


@pytest.mark.parametrize(("ended_per_s", "after_s"), [(0, 10), (0.5, 22), (0.001, 60), (1000, 1)])
async def test_an_account_with_its_fill_is_told_when_to_come_back(
    mesh: ScriptedMesh, ended_per_s: float, after_s: int
) -> None:
    async with serve_http(mesh.bus, open_limit=20) as gateway:
        await heard(gateway, mesh, held(running=20, waiting=10, ended_per_s=ended_per_s))
        refused = await verdict(await gateway.ask())
    assert refused == (429, "rate_limit_exceeded", "requests", after_s)
    assert mesh.submitted == []


async def test_a_full_queue_is_a_503_and_another_class_has_its_own(mesh: ScriptedMesh) -> None:
    async with serve_http(mesh.bus, waiting_limit=10) as gateway:
        await heard(gateway, mesh, held(waiting=12, ended_per_s=1))
        assert await verdict(await gateway.ask()) == (503, "overloaded", "server_error", 3)
        assert await verdict(await gateway.ask({"stream": True})) == (503, "overloaded", "server_error", 3)
        assert (await gateway.ask(x_ig3_urgency="batch")).status == 200
        await heard(gateway, mesh, held(waiting=9))
        assert (await gateway.ask()).status == 200
    assert len(mesh.submitted) == 2


async def test_a_burst_between_two_reports_meets_the_same_bound(mesh: ScriptedMesh) -> None:
    mesh.pause_after = 1
    async with serve_http(mesh.bus, open_limit=7) as gateway:
        await heard(gateway, mesh, held())
        asking = [asyncio.create_task(gateway.ask()) for _ in range(30)]
        await until(lambda: sum(task.done() for task in asking) >= 23)
        refused = [task.result().status for task in asking if task.done()]
        mesh.go.set()
        answered = [(await task).status for task in asking]
    assert refused == [429] * 23
    assert sorted(answered) == [200] * 7 + [429] * 23
    assert len(mesh.submitted) == 7


async def test_a_burst_for_one_model_meets_the_queues_bound(mesh: ScriptedMesh) -> None:
    mesh.pause_after = 1
    async with serve_http(mesh.bus, waiting_limit=4) as gateway:
        await heard(gateway, mesh, held())
        asking = [asyncio.create_task(gateway.ask()) for _ in range(12)]
        await until(lambda: sum(task.done() for task in asking) >= 8)
        mesh.go.set()
        answered = [(await task).status for task in asking]
    assert sorted(answered) == [200] * 4 + [503] * 8


async def test_one_after_the_other_never_meets_a_bound_of_one(mesh: ScriptedMesh) -> None:
    mesh.words = ("word",)
    async with serve_http(mesh.bus, open_limit=1, waiting_limit=1) as gateway:
        answers = [(await gateway.ask()).status for _ in range(20)]
    assert answers == [200] * 20


async def test_what_is_ours_is_not_counted_twice(mesh: ScriptedMesh) -> None:
    mesh.pause_after = 1
    async with serve_http(mesh.bus, open_limit=3) as gateway:
        await heard(gateway, mesh, held())
        streams = [await gateway.ask({"stream": True}) for _ in range(2)]
        await heard(gateway, mesh, held(running=2))
        streams.append(await gateway.ask({"stream": True}))
        assert [stream.status for stream in streams] == [200] * 3
        assert (await gateway.ask()).status == 429
        mesh.go.set()
        for stream in streams:
            await read_sse(stream)
        # The dispatcher has not spoken since; what was ours has ended, and we know it.
        assert (await gateway.ask()).status == 200


async def test_what_other_gateways_have_sent_counts_too(mesh: ScriptedMesh) -> None:
    mesh.pause_after = 1
    async with serve_http(mesh.bus, open_limit=3) as gateway:
        stream = await gateway.ask({"stream": True})
        await heard(gateway, mesh, held(running=3))
        assert (await gateway.ask()).status == 429
        mesh.go.set()
        await read_sse(stream)
        await heard(gateway, mesh, held(running=2))
        assert (await gateway.ask()).status == 200


async def test_an_account_may_have_a_limit_of_its_own(mesh: ScriptedMesh) -> None:
    async with serve_http(mesh.bus, open_limit=1, open_limit_of=("other=1", "local=50")) as gateway:
        await heard(gateway, mesh, held(running=49))
        assert (await gateway.ask()).status == 200
        await heard(gateway, mesh, held(running=50))
        assert (await gateway.ask()).status == 429


async def test_a_task_that_is_there_is_answered_though_the_queue_is_full(mesh: ScriptedMesh) -> None:
    async with serve_http(mesh.bus, open_limit=5) as gateway:
        response = await gateway.ask()
        task, first = response.headers["x-ig3-task"], await response.read()
        await heard(gateway, mesh, held(running=5))
        again = await gateway.ask(x_ig3_task=task)
        assert (again.status, await again.read()) == (200, first)
        rest = await gateway.ask({"stream": True}, x_ig3_task=task, Last_Event_ID="5")
        assert rest.status == 200
        assert (await gateway.get(f"/v1/tasks/{task}/events")).status == 200


async def test_a_gateway_that_stood_still_itself_takes_no_dispatcher_for_silent(
    mesh: ScriptedMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve_http(mesh.bus) as gateway:
        await heard(gateway, mesh, held(interval_s=1))
        late_s = time.monotonic() + 100
        with monkeypatch.context() as patch:
            patch.setattr(time, "monotonic", lambda: late_s)
            assert gateway.gate.trouble is None


async def test_without_a_dispatcher_tasks_wait_a_while_and_then_are_refused(mesh: ScriptedMesh) -> None:
    mesh.backlog = None
    async with serve_http(mesh.bus, dispatcher_patience=timedelta(seconds=60)) as patient:
        assert (await patient.ask()).status == 200
    async with serve_http(mesh.bus, dispatcher_patience=timedelta(milliseconds=1)) as gateway:
        async with asyncio.timeout(LIMIT_S):
            while (await gateway.get("/readyz")).status == 200:
                pass
        assert await verdict(await gateway.ask()) == (503, "no_dispatcher", "server_error", 10)
        assert "no dispatcher has been heard" in (await (await gateway.get("/readyz")).json())["reason"]
        await heard(gateway, mesh, held(interval_s=60))
        assert (await gateway.get("/readyz")).status == 200
        assert (await gateway.ask()).status == 200


async def test_a_connection_that_was_lost_leaves_no_false_count(mesh: ScriptedMesh) -> None:
    mesh.pause_after = 1
    async with await mesh.connect("gateway") as bus, serve_http(bus, open_limit=1) as gateway:
        await bus.follow()
        stream = await gateway.ask({"stream": True})
        assert (await gateway.ask()).status == 429
        mesh.pause_after = None
        await gateway.bus.core.client.force_reconnect()
        async with asyncio.timeout(LIMIT_S):
            while (await gateway.ask()).status != 200:
                pass
        mesh.go.set()
        await read_sse(stream)


async def test_openais_client_knows_the_error_and_is_served_later(mesh: ScriptedMesh) -> None:
    async with serve_http(mesh.bus, open_limit=5) as gateway:
        await heard(gateway, mesh, held(running=5, ended_per_s=100))
        async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client:
            with pytest.raises(openai.RateLimitError) as caught:
                await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hello"}])
            await heard(gateway, mesh, held())
            answer = await client.with_options(max_retries=3).chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "hello"}]
            )
    assert caught.value.code == "rate_limit_exceeded"
    assert answer.choices[0].message.content


async def test_real_dispatchers_say_enough_for_the_gate(tmp_path: Path) -> None:
    async with InProcessMesh(folder=tmp_path / "mesh") as mesh:
        await mesh.add_dispatcher()
        async with serve_http(mesh.bus, waiting_limit=3) as gateway:
            keys = [await mesh.submit(model="promised", service_class="interactive") for _ in range(3)]
            backlogs = gateway.gate.feed.backlogs
            await until(lambda: backlogs.totals.waiting_in.get(("promised", "interactive")) == len(keys))
            assert await verdict(await gateway.ask({"model": "promised"})) == (503, "overloaded", "server_error", 10)
