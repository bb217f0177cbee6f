"""Nodes whose engine asks a server, in a mesh: what the server does wrong costs nobody an answer."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from mesh.bus.answer import follow
from mesh.config.settings import MeshSettings
from nodes.engine import EngineSpec, Generate, RemoteSpec
from nodes.engines import open_engine
from nodes.engines.remote.openai import OpenAiEngine
from nodes.errors import EngineAway, EngineUnavailable, RequestRefused
from nodes.process import NodeProcess
from nodes.settings import NodeSettings
from streams.events import TaskEnded, TaskRequeued
from streams.tasks.chat import Message, Sampling
from tests.contract.waiting import eventually
from tests.http_gateway import serve_http
from tests.mesh_in_process import LIMIT_S, InProcessMesh, RunningDispatcher, RunningNode, text_of
from tests.played_chat_server import MODEL, Mode, PlayedChatServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mesh.bus.answer import Step
    from streams.subjects import TaskKey

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[InProcessMesh]:
    async with InProcessMesh(folder=tmp_path_factory.mktemp("remote") / "mesh") as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def dispatcher(mesh: InProcessMesh) -> RunningDispatcher:
    # Attempts enough for a node that takes its time to come, on a machine that is busy.
    return await mesh.add_dispatcher(retry_pause=timedelta(milliseconds=20), max_attempts=100)


async def gone(dispatcher: RunningDispatcher, *nodes: RunningNode) -> None:
    """Have nodes vanish, and wait until that was noticed."""

    def is_there(node: RunningNode) -> bool:
        view = dispatcher.feed.roster.node(node.name, now_s=dispatcher.feed.now_s())
        return view is not None and view.is_live

    for node in nodes:
        await node.vanish()
    async with asyncio.timeout(LIMIT_S):
        await eventually(lambda: not any(map(is_there, nodes)))


def asks(server: PlayedChatServer) -> EngineSpec:
    """What serves the same model as the synthetic nodes, by asking a server."""
    return EngineSpec(engine="openai", model_id="synthetic", remote=RemoteSpec(url=server.url, patience_s=20))


async def requeued(mesh: InProcessMesh, key: TaskKey) -> TaskRequeued:
    """Wait until a task's first attempt has come to nothing."""
    async with asyncio.timeout(LIMIT_S):
        async for steps in follow(mesh.bus.source, key):
            for step in steps:
                if isinstance(step.event, TaskRequeued):
                    return step.event
    raise AssertionError("the task ended without a second attempt")


def ended_well(steps: list[Step]) -> bool:
    last = steps[-1].event
    return isinstance(last, TaskEnded) and last.outcome == "completed"


MISDEEDS: list[tuple[Mode | int, str]] = [
    ("cuts", "engine_error"), ("garbage", "engine_error"), ("hangs", "engine_error"), ("no usage", "engine_error"),
    ("says error", "engine_error"), (500, "engine_error"), (429, "node_busy"), (401, "engine_away"),
]  # fmt: skip


@pytest.mark.parametrize(("misdeed", "code"), MISDEEDS)
async def test_an_answer_goes_on_elsewhere_and_the_log_says_why(
    mesh: InProcessMesh,
    dispatcher: RunningDispatcher,
    misdeed: Mode | int,
    code: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = PlayedChatServer()
    async with server.running():
        # Names of its own: who has failed before is given less, and after a while nothing.
        case = str(misdeed).replace(" ", "-")
        bad = await mesh.add_node(f"bad-{case}", spec=asks(server))
        if isinstance(misdeed, int):
            server.status = misdeed
        else:
            server.mode = misdeed
        if misdeed == "hangs":
            engine = bad.worker.engine_of("synthetic")
            assert isinstance(engine, OpenAiEngine)
            # Only now: at the start this machine may be slow, and the server not to blame.
            engine._server._patience_s = 0.3
        key = await mesh.submit(tokens=8)
        failure = await requeued(mesh, key)
        assert failure.code == code
        assert failure.message in caplog.text
        good = await mesh.add_node(f"good-{case}")
        steps = await mesh.steps(key)
        assert ended_well(steps)
        text = text_of(steps)
        assert len(text.split()) == 8
        if isinstance(misdeed, str):
            assert text.startswith("lorem ipsum dolor ")
        await gone(dispatcher, good, bad)


async def test_a_node_withdraws_what_is_away_and_announces_it_when_it_is_back(
    mesh: InProcessMesh, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setattr("nodes.engines.remote.presence.EVERY_S", 0.05)
    server, stop, stopped = PlayedChatServer(), asyncio.Event(), asyncio.Event()
    async with serve_http(mesh.bus) as gateway:

        def is_served() -> bool:
            return gateway.feed.roster.model(MODEL, now_s=gateway.feed.now_s()) is not None

        async with server.running():
            port = server.port
            settings = NodeSettings(id="keen", engine="openai", url=server.url)
            data_dir = tmp_path_factory.mktemp("node")
            process = NodeProcess(
                settings, MeshSettings(nats=str(mesh.server.address), data_dir=data_dir), lambda _: None
            )
            running = asyncio.create_task(process.run(stop))
            await gateway.until_served(MODEL)
        async with asyncio.timeout(LIMIT_S):
            await eventually(lambda: not is_served())
            async with server.running(port):
                await eventually(is_served)
                steps = await mesh.steps(await mesh.submit(model=MODEL, tokens=3))
                assert ended_well(steps)
                stop.set()
                await running
    stopped.set()


async def test_another_mesh_is_a_server_like_any_other(mesh: InProcessMesh) -> None:
    node = await mesh.add_node("inner", delay_ms=2)
    async with serve_http(mesh.bus) as gateway:
        await gateway.until_served()
        engine = open_engine(EngineSpec(engine="openai", remote=RemoteSpec(url=f"{gateway.url}/v1")))
        replica = await engine.start()
        assert (replica.model, replica.context_tokens, replica.continues) == ("synthetic", 2048, True)
        asked = (Message(role="user", content="hello"),)
        request = Generate(messages=asked, sampling=Sampling(max_tokens=12))
        pieces = [piece async for piece in engine.generate(request)]
        whole = "".join(piece.text for piece in pieces)
        assert pieces[-1].usage is not None
        assert (pieces[-1].usage.prompt_tokens, pieces[-1].usage.completion_tokens) == (1, 12)
        cut = len(whole) // 2
        rest = Generate(messages=asked, sampling=Sampling(max_tokens=12), prefix=whole[:cut])
        assert "".join([piece.text async for piece in engine.generate(rest)]).startswith(whole[cut:])
        with pytest.raises(RequestRefused, match="2048") as refused:
            _ = [piece async for piece in engine.generate(_asking("word " * 3000))]
        assert refused.value.code == "context_length_exceeded"
        async with aclosing(engine.generate(_asking("hello", tokens=100_000))) as endless:
            await anext(endless)
            assert node.worker.running()
        async with asyncio.timeout(LIMIT_S):
            await eventually(lambda: not node.worker.running())  # the other mesh has cancelled the task
        await node.vanish()
        await engine.stop()


def _asking(text: str, *, tokens: int = 3) -> Generate:
    return Generate(messages=(Message(role="user", content=text),), sampling=Sampling(max_tokens=tokens))


async def test_nobody_there_at_the_start_is_told_with_the_address() -> None:
    engine = open_engine(EngineSpec(engine="openai", remote=RemoteSpec(url="http://127.0.0.1:1")))
    with pytest.raises(EngineAway, match=r"nobody answers at http://127\.0\.0\.1:1"):
        await engine.start()
    with pytest.raises(EngineUnavailable, match="stopped"):
        _ = [piece async for piece in engine.generate(_asking("hello"))]
