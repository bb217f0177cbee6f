"""Ctrl-C in `ig3 chat` while a question is on its way: its task is cancelled, or there never was one."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import mesh as public
from gateway.dispatcher.ending import stored_end
from mesh.client.chat_session import Asked, ChatSession
from mesh.client.client import SubmitOptions
from mesh.client.sync import SyncAnswer, SyncClient
from mesh.processes.terminal import Terminal
from streams.events import TaskCancelled
from streams.tasks.task_id import parse_task_id
from tests.mesh_in_process import LIMIT_S, InProcessMesh
from tests.processes import until


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[InProcessMesh]:
    async with InProcessMesh(folder=tmp_path) as running:
        await running.add_dispatcher()
        await running.add_node(delay_ms=20)
        yield running


async def chat(mesh: InProcessMesh) -> Asked:
    """Ask as `ig3 chat` does, for an answer that takes long."""
    seed = mesh.server.credentials.user.seed_path

    def ask() -> Asked:
        with public.connect_sync(mesh.server.url, account="local", seed_file=seed) as client:
            return ChatSession(client, Terminal(), "synthetic", SubmitOptions(max_tokens=5000)).ask("hello")

    return await asyncio.to_thread(ask)


async def test_a_question_that_was_stored_in_the_moment_of_the_interrupt_is_cancelled(
    mesh: InProcessMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks, submit = list[str](), SyncClient.submit

    def interrupted(client: SyncClient, *given: Any, **options: Any) -> SyncAnswer:
        tasks.append(submit(client, *given, **options).task)
        raise KeyboardInterrupt

    monkeypatch.setattr(SyncClient, "submit", interrupted)
    assert await chat(mesh) == Asked(text="", cancelled=True)
    end = await stored_end(mesh.bus, mesh.key()._replace(task=parse_task_id(tasks[0])))
    assert isinstance(end, TaskCancelled)
    assert end.reason == "cancelled by Ctrl-C"


async def test_a_question_that_reaches_the_broker_behind_the_cancel_is_cancelled_too(
    mesh: InProcessMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks, outcomes, cancel = list[str](), list[str](), SyncClient.cancel

    def interrupted(_: SyncClient, *__: Any, **options: Any) -> SyncAnswer:
        tasks.append(options["task"])
        raise KeyboardInterrupt

    def cancelling(client: SyncClient, task: str, *, reason: str = "") -> Any:
        outcome = cancel(client, task, reason=reason)
        outcomes.append(outcome.outcome)
        return outcome

    monkeypatch.setattr(SyncClient, "submit", interrupted)
    monkeypatch.setattr(SyncClient, "cancel", cancelling)
    monkeypatch.setattr("mesh.client.chat_session._ON_ITS_WAY_S", 60.0)
    chatting = asyncio.create_task(chat(mesh))
    await until(lambda: "unknown" in outcomes)
    key = await mesh.submit(mesh.key()._replace(task=parse_task_id(tasks[0])), tokens=5000)
    assert await chatting == Asked(text="", cancelled=True)
    assert isinstance(await stored_end(mesh.bus, key), TaskCancelled)
    assert outcomes[-1] == "cancelled"


async def test_a_question_that_arrives_while_the_chat_stands_still_is_cancelled_too(
    mesh: InProcessMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, tasks, passed_s, cancel = asyncio.get_running_loop(), list[str](), [0.0], SyncClient.cancel

    def interrupted(_: SyncClient, *__: Any, **options: Any) -> SyncAnswer:
        tasks.append(options["task"])
        raise KeyboardInterrupt

    def cancelling(client: SyncClient, task: str, *, reason: str = "") -> Any:
        outcome = cancel(client, task, reason=reason)
        if not passed_s[0]:
            key = mesh.key()._replace(task=parse_task_id(task))
            asyncio.run_coroutine_threadsafe(mesh.submit(key, tokens=5000), loop).result(LIMIT_S)
            passed_s[0] += 10
        return outcome

    monkeypatch.setattr(SyncClient, "submit", interrupted)
    monkeypatch.setattr(SyncClient, "cancel", cancelling)
    clock = SimpleNamespace(monotonic=lambda: passed_s[0], sleep=lambda _: None)
    monkeypatch.setattr("mesh.client.chat_session.time", clock)
    assert await chat(mesh) == Asked(text="", cancelled=True)
    end = await stored_end(mesh.bus, mesh.key()._replace(task=parse_task_id(tasks[0])))
    assert isinstance(end, TaskCancelled)


async def test_a_question_that_was_never_sent_leaves_nothing(
    mesh: InProcessMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> SyncAnswer:
        raise KeyboardInterrupt

    monkeypatch.setattr(SyncClient, "submit", interrupted)
    monkeypatch.setattr("mesh.client.chat_session._ON_ITS_WAY_S", 0.0)
    assert await chat(mesh) == Asked(text="", cancelled=True)
    assert not mesh.dispatchers[0].dispatcher.lives
