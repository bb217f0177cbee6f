"""Models of the store come to nodes, and go, because somebody wants them there or because tasks wait for them."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.http.metrics_page import MetricsPage
from gateway.http.model_metrics import ModelMetrics
from gateway.models.demand import Pace
from gateway.models.desk import ModelDesk
from gateway.models.placer import ModelPlacer
from gateway.roster.backlog_feed import BacklogFeed
from mesh.config.settings import MeshSettings
from mesh.errors import ModelStoreError
from mesh.history.stream_facts import message_range, stream_facts
from mesh.models.push import Push, sha256_of
from mesh.models.store import ModelStore
from mesh.models.wishes import desire, give_up, read_wishes
from nodes.process import NodeProcess
from nodes.settings import NodeSettings
from streams import subjects
from streams.codec import decode, decode_model_event, encode
from streams.events import ModelScaled
from streams.messages import NodeStatus
from streams.models.events import InRegion
from streams.models.orders import ModelOrder, ModelOrdered
from streams.models.store import StoredModel
from streams.tasks.placing import Rules
from streams.tokens import Token
from streams.topology import MODELS
from tests.http_gateway import serve_http, until
from tests.mesh_in_process import LIMIT_S, InProcessMesh, RunningDispatcher
from tests.unit.gguf_files import tiny

DOCS = Path(__file__).parents[2] / "docs/models.md"
PACE = Pace(up=timedelta(0), down=timedelta(seconds=1), to_zero=timedelta(seconds=1))


class Placed:
    """A mesh with a store that has the model ``m``, and one node that its owner has serve ``own``."""

    def __init__(self, mesh: InProcessMesh, dispatcher: RunningDispatcher) -> None:
        self.mesh = mesh
        self.core = mesh.bus.core
        self.feed = dispatcher.feed

    async def until(self, found: Callable[[], object]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while True:
                if found():
                    return
                await asyncio.sleep(0.02)

    def nodes_of(self, model: str) -> int:
        view = self.feed.roster.model(model, now_s=self.feed.now_s())
        return 0 if view is None else len(view.nodes)

    def status(self) -> NodeStatus | None:
        view = self.feed.roster.node(Token("n1"), now_s=self.feed.now_s())
        return None if view is None else view.status

    async def completes(self, model: str, rules: Rules | None = None) -> bool:
        key = await self.mesh.submit(model=model, tokens=3, rules=rules)
        return (await self.mesh.steps(key))[-1].state.outcome == "completed"

    async def scaled(self) -> list[int]:
        return [event.replicas for event in await self.scalings()]

    async def scalings(self) -> list[ModelScaled]:
        facts = await stream_facts(self.core, MODELS)
        events = [decode_model_event(one.data) for one in await message_range(self.core, MODELS, 1, facts.messages)]
        return [event for event in events if isinstance(event, ModelScaled)]


def wanted_by_the_docs(url: str) -> str:
    """What the command prints by which docs/models.md reads how many replicas are wanted, asked for ``m``."""
    line = next(line for line in DOCS.read_text().splitlines() if line.startswith("curl -s http://127.0.0.1:8080/"))
    command = line.replace("http://127.0.0.1:8080", url).replace("qwen2.5-0.5b-instruct", "m")
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout


async def push(mesh: InProcessMesh, file: Path, name: str) -> None:
    store = ModelStore(mesh.bus.core)
    await store.make(1)
    size = file.stat().st_size
    model = StoredModel(name=name, sha256=sha256_of(file, lambda _: None), size_bytes=size)
    await Push(store, model, file).run(lambda _: None)


@pytest.fixture
async def placed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Placed]:
    monkeypatch.setattr("gateway.models.placer._LOOK_S", 0.05)
    file = tmp_path / "tiny.gguf"
    file.write_bytes(tiny())
    async with InProcessMesh(folder=tmp_path / "mesh") as mesh:
        dispatcher = await mesh.add_dispatcher()
        desk = ModelDesk(await mesh.new_bus("models"))
        placer = ModelPlacer(dispatcher.bus, dispatcher.feed, BacklogFeed(dispatcher.bus.core), PACE)
        for part in (desk, placer):
            await part.start()
            mesh.stack.push_async_callback(part.stop)
        await push(mesh, file, "m")
        settings = NodeSettings(
            id="n1",
            engine="synthetic",
            region="eu",
            model_id=("own",),
            drain=timedelta(0),
            # It reports what changes at once, and is not lost where this machine stands still for seconds.
            heartbeat=timedelta(seconds=10),
        )
        where = MeshSettings(nats=str(mesh.server.address), data_dir=tmp_path / "node")
        stop = asyncio.Event()
        running = asyncio.create_task(NodeProcess(settings, where, lambda _: None).run(stop))
        found = Placed(mesh, dispatcher)
        await found.until(lambda: found.nodes_of("own"))
        yield found
        stop.set()
        async with asyncio.timeout(LIMIT_S):
            await running


async def test_a_model_is_brought_to_a_node_because_somebody_wants_it_and_given_up_again(placed: Placed) -> None:
    with pytest.raises(ModelStoreError, match="never placed"):
        await give_up(placed.core, "m")
    with pytest.raises(ModelStoreError, match="has no model 'other'"):
        await desire(placed.core, "other", replicas=1, most=None)
    with pytest.raises(ModelStoreError, match="at most 1 cannot be fewer"):
        await desire(placed.core, "m", replicas=2, most=1)
    await desire(placed.core, "m", replicas=1, most=None)
    await placed.until(lambda: placed.nodes_of("m"))
    assert await placed.completes("m")
    assert [(wish.model, wish.wanted) for wish in await read_wishes(placed.core)] == [("m", 1)]
    await give_up(placed.core, "m")
    await placed.until(lambda: not placed.nodes_of("m"))
    assert await placed.completes("own")  # what its owner chose stays
    assert await placed.scaled() == []


async def test_the_first_task_brings_a_model_and_waits_for_it_and_idleness_takes_it_away(placed: Placed) -> None:
    await desire(placed.core, "m", replicas=0, most=1)
    await placed.until(lambda: placed.feed.roster.knows("m"))
    assert await placed.completes("m")

    async def idle() -> bool:
        # That a busy machine hears nothing of the node for a moment is not that it gave the model up.
        return await placed.scaled() == [1, 0]

    await until(idle)
    await placed.until(lambda: not placed.nodes_of("m"))


async def test_a_model_stays_out_of_regions_that_nobody_said_and_scaling_keeps_to_them(
    placed: Placed, caplog: pytest.LogCaptureFixture
) -> None:
    await desire(placed.core, "m", replicas=1, most=None, regions=("us", "us"))
    await placed.until(lambda: "m: 1 replicas are missing, and no node has room or is willing" in caplog.text)
    await desire(placed.core, "m", replicas=1, most=2, regions=None)
    assert [wish.desired.regions for wish in await read_wishes(placed.core)] == [("us",)]
    await desire(placed.core, "m", replicas=1, most=None, regions=("eu",))
    await placed.until(lambda: placed.nodes_of("m"))
    await desire(placed.core, "m", replicas=1, most=None, regions=("us",))
    await placed.until(lambda: not placed.nodes_of("m"))
    assert await placed.completes("own")


async def test_a_task_that_must_not_leave_a_region_brings_a_model_there(placed: Placed) -> None:
    await desire(placed.core, "m", replicas=0, most=1)
    await placed.until(lambda: placed.feed.roster.knows("m"))
    await placed.mesh.submit(model="m", rules=Rules(region="us"))
    assert await placed.completes("m", Rules(region="eu"))
    assert [(event.replicas, event.regions) for event in await placed.scalings()][:1] == [
        (1, (InRegion(region="eu", replicas=1),))
    ], "of the other region no node is heard"


async def test_what_can_be_brought_is_listed_and_counted_for_autoscalers(placed: Placed) -> None:
    backlog = BacklogFeed(placed.core)
    metrics = MetricsPage(ModelMetrics(placed.feed, backlog))
    async with serve_http(placed.mesh.bus, known_models=(), metrics=metrics) as gateway:
        assert (await gateway.get("/v1/models/m")).status == 404
        await desire(placed.core, "m", replicas=0, most=2)
        await placed.until(lambda: gateway.feed.roster.knows("m") and placed.feed.roster.knows("m"))
        await gateway.until_served("own")
        listed = {model["id"]: model for model in (await (await gateway.get("/v1/models")).json())["data"]}
        assert {name: (model["status"], model["replicas"], model["tiers"]) for name, model in listed.items()} == {
            "m": ("stored", 0, []),
            "own": ("ready", 1, ["edge"]),
        }
        assert (await (await gateway.get("/v1/models/m")).json())["status"] == "stored"
        page = await (await gateway.get("/metrics")).text()
        assert 'ig3_model_wanted_replicas{model="m"} 0.0' in page
        assert 'ig3_model_replicas{model="own"} 1.0' in page
        assert await asyncio.to_thread(wanted_by_the_docs, gateway.url) == "0.0\n"
        await desire(placed.core, "m", replicas=0, most=None)
        await placed.until(lambda: not gateway.feed.roster.knows("m"))
        assert (await gateway.get("/v1/models/m")).status == 404


async def test_a_node_that_cannot_load_says_why_and_goes_on_with_what_it_has(placed: Placed) -> None:
    await desire(placed.core, "m", replicas=0, most=None)
    await ModelStore(placed.core).remove("m")

    def failed() -> list[str]:
        status = placed.status()
        room = None if status is None else status.room
        return [one.reason for one in room.failed] if room is not None else []

    order = encode(ModelOrder(action="load", model="m"))
    answer = await placed.mesh.bus.edge.request(subjects.node_inbox(Token("n1"), "orders"), order)
    assert decode(answer.data, ModelOrdered) == ModelOrdered(accepted=True)
    await placed.until(failed)
    assert "The model store has no 'm'" in failed()[0]
    assert await placed.completes("own")


async def test_a_node_gives_up_only_what_it_was_told_to_load(placed: Placed) -> None:
    order = encode(ModelOrder(action="evict", model="own"))
    answer = await placed.mesh.bus.edge.request(subjects.node_inbox(Token("n1"), "orders"), order)
    assert decode(answer.data, ModelOrdered) == ModelOrdered(accepted=False, reason="it was not told to load the model")
    assert await placed.completes("own")
