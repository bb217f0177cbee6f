"""An engine that fails: when a node looks into it, and what it does when the engine is broken."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta

import pytest

from mesh.config.settings import MeshSettings
from nodes.engine import Engine, Generate, Piece
from nodes.errors import EngineError, EngineStuck, EngineUnavailable
from nodes.presence.health import FAILURES, EngineHealth
from nodes.process import NodeProcess
from nodes.settings import NodeSettings
from streams.messages import Refused
from tests.integration.worker.played_dispatcher import PATIENCE_S, PlayedDispatcher, until
from tests.integration.worker.scripted_engine import MODEL, ScriptedEngine
from tests.integration.worker.site import NODE, Site


async def fail_tasks(dispatcher: PlayedDispatcher, engine: ScriptedEngine, count: int) -> None:
    """Have as many tasks fail in the engine, one after the other."""
    for _ in range(count):
        number = len(engine.scripts) + 1
        key = await dispatcher.place(model=MODEL)
        (await engine.script(number)).fail(EngineError("out of luck"))
        report = await dispatcher.report_of(key)
        assert isinstance(report, Refused)
        assert (report.code, report.status) == ("engine_error", 500)


async def test_tasks_that_no_engine_survives_do_not_take_the_node_away(site: Site) -> None:
    engine = ScriptedEngine()
    async with site.worker(engine) as worker:
        broken = asyncio.create_task(worker.broken())
        await fail_tasks(site.dispatcher, engine, FAILURES)
        question = await engine.script(FAILURES + 1)
        assert question.request.sampling.max_tokens == 1
        refused = await site.dispatcher.report_of(await site.dispatcher.place(model=MODEL))
        assert isinstance(refused, Refused)
        assert (refused.code, refused.status) == ("engine_suspect", 503)
        question.end("yes")
        await until(lambda: question.closed)
        key = await site.dispatcher.place(model=MODEL)
        (await engine.script(FAILURES + 2)).end("well again")
        assert (await site.dispatcher.whole(key)).text == "well again"
        assert not broken.done()
        broken.cancel()


async def test_an_answer_in_between_makes_failures_forgotten(site: Site) -> None:
    engine = ScriptedEngine()
    async with site.worker(engine):
        for _ in range(2):
            await fail_tasks(site.dispatcher, engine, FAILURES - 1)
            number = len(engine.scripts) + 1
            key = await site.dispatcher.place(model=MODEL)
            (await engine.script(number)).end("fine")
            await site.dispatcher.whole(key)
    assert all(script.request.sampling.max_tokens is None for script in engine.scripts)


@pytest.mark.parametrize("failing", ["it fails", "it says nothing"])
async def test_an_engine_that_cannot_answer_a_small_question_is_broken(failing: str) -> None:
    engine = ScriptedEngine()
    reasons: list[str] = []
    health = EngineHealth(engine, reasons.append, check_s=30 if failing == "it fails" else 0.2)
    health.suspect("of a test")
    health.suspect("of another one")
    if failing == "it fails":
        (await engine.script(1)).fail(EngineError("still out of luck"))
    await until(lambda: reasons)
    assert failing in reasons[0]
    assert "of a test" in reasons[0]
    assert health.is_suspect
    health.suspect("once more")
    await asyncio.sleep(0)
    assert len(engine.scripts) == 1


class _Clinging(ScriptedEngine):
    """Does not let go of a request that is cancelled, until it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_go = asyncio.Event()

    async def generate(self, request: Generate) -> AsyncGenerator[Piece, None]:
        try:
            async for piece in super().generate(request):
                yield piece
        finally:
            await self.may_go.wait()


async def test_an_engine_that_does_not_let_go_is_looked_into(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodes.attempts.worker.STUCK_S", 0.1)
    engine = _Clinging()
    async with site.worker(engine) as worker:
        broken = asyncio.create_task(worker.broken())
        key = await site.dispatcher.place(model=MODEL)
        await engine.script(1)
        site.dispatcher.stop(key)
        (await engine.script(2)).fail(EngineError("hung"))
        engine.may_go.set()
        async with asyncio.timeout(PATIENCE_S):
            assert "does not let go" in await broken


class _Unstoppable(ScriptedEngine):
    async def stop(self) -> None:
        await asyncio.Event().wait()


async def node_that_ends(site: Site, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> asyncio.Task[None]:
    monkeypatch.setattr("nodes.models.loaded.open_engine", lambda *_: engine)
    mesh = MeshSettings(nats=str(site.server.address), data_dir=site.data_dir)
    process = NodeProcess(NodeSettings(id=NODE, drain=timedelta(minutes=5)), mesh, lambda _: None)
    running = asyncio.create_task(process.run(asyncio.Event()))
    await until(lambda: site.dispatcher.statuses)
    return running


async def test_a_node_whose_engine_is_broken_leaves_and_hands_its_answers_on(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = ScriptedEngine()
    running = await node_that_ends(site, engine, monkeypatch)
    held = await site.dispatcher.place(model=MODEL)
    (await engine.script(1)).say("so far ")
    await fail_tasks(site.dispatcher, engine, FAILURES)
    (await engine.script(FAILURES + 2)).fail(EngineError("for good"))
    with pytest.raises(EngineUnavailable, match="for good"):
        async with asyncio.timeout(PATIENCE_S):
            await running
    report = await site.dispatcher.report_of(held)
    assert isinstance(report, Refused)
    assert report.code == "node_stopping"
    assert (await site.dispatcher.answer(held)).text == "so far "
    await until(lambda: site.dispatcher.announced[-1].replicas == ())


async def test_a_node_does_not_wait_for_an_engine_that_cannot_be_stopped(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodes.models.loaded.ENGINE_STOP", timedelta(milliseconds=50))
    engine = _Unstoppable()
    running = await node_that_ends(site, engine, monkeypatch)
    await fail_tasks(site.dispatcher, engine, FAILURES)
    (await engine.script(FAILURES + 1)).fail(EngineError("for good"))
    with pytest.raises(EngineStuck):
        async with asyncio.timeout(PATIENCE_S):
            await running
