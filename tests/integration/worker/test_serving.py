"""A node that serves several models, and takes up and gives up models while it runs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from mesh.config.settings import MeshSettings
from nodes.attempts.worker import Worker
from nodes.engine import EngineSpec
from nodes.errors import EngineStuck, EngineUnavailable
from nodes.models.loaded import LoadedModels
from nodes.models.serving import Serving
from nodes.presence.announce import Announcer
from nodes.process import NodeProcess
from nodes.settings import NodeSettings
from streams.messages import Refused
from streams.tasks.chat import Sampling
from tests.integration.worker.played_dispatcher import PATIENCE_S, until
from tests.integration.worker.scripted_engine import ScriptedEngine
from tests.integration.worker.site import NODE, Site
from tests.paced_engine import Pace, PacedEngine


def spec(model_id: str) -> EngineSpec:
    return EngineSpec(engine="synthetic", model_id=model_id)


@pytest.fixture
def pace(monkeypatch: pytest.MonkeyPatch) -> Pace:
    """How far the engines get that are opened from now on."""
    kept = Pace()
    monkeypatch.setattr("nodes.models.loaded.open_engine", lambda spec, *_: PacedEngine(spec, kept))
    return kept


@asynccontextmanager
async def serving(site: Site, *specs: EngineSpec, drain: timedelta) -> AsyncIterator[tuple[Serving, Worker]]:
    link = await site.connect_node()
    models = LoadedModels()
    for one in specs:
        await models.load(one)
    worker = Worker(link, NODE, models.served)
    announcer = Announcer(link, NODE, worker.replicas)
    await worker.listen()
    running = asyncio.create_task(announcer.run())
    async with asyncio.timeout(PATIENCE_S):
        await announcer.accepted()
    try:
        yield Serving(models, worker, announcer, drain), worker
    finally:
        running.cancel()
        await asyncio.wait([running])
        await worker.drain(timedelta(0))
        await link.close()
        await models.stop()


def names(site: Site, number: int = -1) -> list[str]:
    return [replica.model for replica in site.dispatcher.announced[number].replicas]


async def test_a_node_answers_for_each_of_its_models_and_names_them_all(site: Site) -> None:
    settings = NodeSettings(id=NODE, engine="synthetic", model=("-", "-"), model_id=("a", "b"))
    mesh = MeshSettings(nats=str(site.server.address), data_dir=site.data_dir)
    fractions: list[float] = []
    stop = asyncio.Event()
    running = asyncio.create_task(NodeProcess(settings, mesh, fractions.append).run(stop))
    await until(lambda: site.dispatcher.statuses)
    assert names(site) == ["a", "b"]
    for model in ("a", "b"):
        key = await site.dispatcher.place(model=model, sampling=Sampling(max_tokens=3))
        assert (await site.dispatcher.whole(key)).state.tokens == 3
    await until(lambda: [load.model for load in site.dispatcher.statuses[-1].replicas] == ["a", "b"])
    stop.set()
    async with asyncio.timeout(PATIENCE_S):
        await running
    assert fractions == [0.5, 1.0]


async def test_a_model_that_is_loaded_later_is_announced_and_answers(site: Site) -> None:
    async with serving(site, spec("a"), drain=timedelta(0)) as (node, _):
        await node.load(spec("b"))
        await until(lambda: names(site) == ["a", "b"])
        key = await site.dispatcher.place(model="b", sampling=Sampling(max_tokens=2))
        await site.dispatcher.whole(key)


async def test_answers_of_a_model_that_goes_may_end_and_no_new_ones_begin(site: Site, pace: Pace) -> None:
    async with serving(site, spec("a"), spec("b"), drain=timedelta(minutes=5)) as (node, worker):
        pace.hold(10)
        held = await site.dispatcher.place(model="a", sampling=Sampling(max_tokens=75))
        await site.dispatcher.tokens_stored(held, 10)
        going = asyncio.create_task(node.evict("a"))
        await until(lambda: names(site) == ["b"])
        late = await site.dispatcher.report_of(await site.dispatcher.place(model="a"))
        assert isinstance(late, Refused)
        assert late.code == "node_draining"
        await site.dispatcher.whole(await site.dispatcher.place(model="b", sampling=Sampling(max_tokens=2)))
        pace.let_go()
        assert (await site.dispatcher.whole(held)).state.tokens == 75
        async with asyncio.timeout(PATIENCE_S):
            await going
        gone = await site.dispatcher.report_of(await site.dispatcher.place(model="a"))
        assert isinstance(gone, Refused)
        assert gone.code == "model_not_found"
        assert [load.model for load in worker.loads({})] == ["b"]


async def test_an_answer_that_outlasts_the_drain_is_handed_on_with_what_it_has(site: Site, pace: Pace) -> None:
    async with serving(site, spec("a"), spec("b"), drain=timedelta(0)) as (node, _):
        pace.hold(10)
        held = await site.dispatcher.place(model="a", sampling=Sampling(max_tokens=100_000))
        await site.dispatcher.tokens_stored(held, 10)
        async with asyncio.timeout(PATIENCE_S):
            await node.evict("a")
        report = await site.dispatcher.report_of(held)
        assert isinstance(report, Refused)
        assert report.code == "node_stopping"
        assert (await site.dispatcher.answer(held)).text
        await node.load(spec("a"))  # it may come back
        await until(lambda: names(site) == ["b", "a"])


async def test_what_cannot_be_loaded_leaves_the_others_as_they_are(site: Site) -> None:
    async with serving(site, spec("a"), drain=timedelta(0)) as (node, worker):
        with pytest.raises(EngineUnavailable, match="serves a model 'a' already"):
            await node.load(spec("a"))
        with pytest.raises(EngineUnavailable, match="no model"):
            await node.load(EngineSpec(model="nowhere.gguf"))
        assert [replica.model for replica in worker.replicas] == ["a"]


class _Unstoppable(ScriptedEngine):
    async def stop(self) -> None:
        await asyncio.Event().wait()


async def test_an_engine_that_does_not_end_breaks_the_node(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodes.models.loaded.ENGINE_STOP", timedelta(milliseconds=20))
    link = await site.connect_node()
    models = LoadedModels()
    with monkeypatch.context() as patched:
        patched.setattr("nodes.models.loaded.open_engine", lambda *_: _Unstoppable())
        served = await models.load(EngineSpec())
    worker = Worker(link, NODE, models.served)
    node = Serving(models, worker, Announcer(link, NODE, worker.replicas), timedelta(0))
    with pytest.raises(EngineStuck):
        await node.evict(served.replica.model)
    assert "does not end" in await worker.broken()
    with pytest.raises(EngineStuck):
        await models.stop()
    await link.close()
