"""Health, models, metrics, and how a gateway starts and stops."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.errors import GatewayError
from gateway.http.metrics_page import MetricsPage
from gateway.http.server import PortInUse
from mesh.telemetry.opening import open_telemetry
from streams.devices.replica import Replica
from streams.events import ModelAnnounced
from streams.messages import NodeStatus
from streams.tokens import Token
from tests.http_gateway import LIMIT_S, MODEL, HttpGateway, read_sse, serve_http, sse_events, text_of, until
from tests.mesh_in_process import InProcessMesh
from tests.scripted_mesh import scripted_mesh


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[InProcessMesh]:
    async with InProcessMesh(folder=tmp_path / "mesh") as running:
        yield running


@pytest.fixture
async def gateway(mesh: InProcessMesh) -> AsyncIterator[HttpGateway]:
    async with serve_http(mesh.bus) as serving:
        yield serving


async def test_a_gateway_without_nodes_is_alive_and_ready(gateway: HttpGateway) -> None:
    assert await (await gateway.get("/healthz")).json() == {"status": "ok"}
    ready = await gateway.get("/readyz")
    assert (ready.status, await ready.json()) == (
        200,
        {"status": "ready", "reason": None, "live_nodes": 0, "models": []},
    )


async def test_readiness_counts_live_nodes(mesh: InProcessMesh, gateway: HttpGateway) -> None:
    await mesh.add_dispatcher()
    await mesh.add_node(interval_s=5)
    await gateway.until_served()
    ready = await (await gateway.get("/readyz")).json()
    assert (ready["live_nodes"], ready["models"]) == (1, [MODEL])


async def test_readiness_knows_when_the_bus_is_gone_and_when_it_is_back(tmp_path: Path) -> None:
    async with scripted_mesh(tmp_path) as mesh, serve_http(mesh.bus) as gateway:
        await mesh.bus.feed.start()
        assert (await gateway.get("/readyz")).status == 200
        await mesh.broker.stop()
        await until(lambda: answers(gateway, "/readyz", 503))
        gone = await gateway.get("/readyz")
        assert (gone.status, (await gone.json())["status"]) == (503, "not ready")
        assert (await gateway.get("/healthz")).status == 200
        await mesh.broker.start()
        await until(lambda: answers(gateway, "/readyz", 200))
        assert (await gateway.ask()).status == 200


async def test_a_request_while_the_bus_is_gone_is_a_503_that_may_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.http.submitting.APPEND_TIMEOUT", timedelta(milliseconds=50))
    async with scripted_mesh(tmp_path) as mesh, serve_http(mesh.bus) as gateway:
        await mesh.bus.feed.start()
        await mesh.broker.stop()
        refused = await gateway.ask()
        assert (refused.status, (await refused.json())["error"]["code"]) == (503, "mesh_unavailable")
        assert refused.headers["Retry-After"] == "1"
        await mesh.broker.start()
        monkeypatch.undo()
        await until(lambda: answers(gateway, "/readyz", 200))
        again = await gateway.ask(x_ig3_task=refused.headers["x-ig3-task"])
        assert again.status == 200


async def test_models_with_slashes_in_their_names(gateway: HttpGateway) -> None:
    replica = Replica(model="org/model:8b/q4", engine="e", context_tokens=100, slots=1, quantisation="Q4")
    node = Token("n9")
    gateway.feed.roster.apply_model(node, ModelAnnounced(at_ms=1_700_000_000_000, node=node, replica=replica))
    waiting = await gateway.get("/v1/models/org/model:8b/q4")
    assert waiting.status == 404
    assert "served by no node now" in (await waiting.json())["error"]["message"]
    report(gateway, node)
    expected = {
        "id": "org/model:8b/q4",
        "object": "model",
        "created": 1_700_000_000,
        "owned_by": "ig3",
        "context_tokens": 100,
        "engine": "e",
        "quantisation": "Q4",
        "nodes": 1,
        "replicas": 1,
        "slots": 1,
        "kind": "chat",
        "tiers": ["edge"],
        "abilities": [],
        "status": "ready",
    }
    assert await (await gateway.get("/v1/models/org/model:8b/q4")).json() == expected
    assert await (await gateway.get("/v1/models")).json() == {"object": "list", "data": [expected]}


def report(gateway: HttpGateway, node: Token) -> None:
    gateway.feed.roster.apply_status(node, NodeStatus(at_ms=0, interval_s=60), now_s=gateway.feed.now_s())


async def test_metrics_count_what_was_served(mesh: InProcessMesh) -> None:
    await mesh.add_dispatcher()
    await mesh.add_node(interval_s=5)
    page = MetricsPage()
    telemetry = open_telemetry("gateway", otlp_endpoint=None, metric_readers=(page.reader,))
    async with serve_http(mesh.bus, telemetry=telemetry, metrics=page) as gateway:
        await gateway.ask({"max_tokens": 5})
        await read_sse(await gateway.ask({"max_tokens": 5, "stream": True}))

        async def are_counted() -> bool:
            # A request is counted once its answer is out, which its client may see a moment before.
            return (await metrics_of(gateway)).get("gen_ai_server_request_duration_seconds_count") == 2

        await until(are_counted)
        served = await metrics_of(gateway)
        assert served["gen_ai_server_time_to_first_token_seconds_count"] == 1
        assert served["gen_ai_client_token_usage_sum"] == 10


async def test_metrics_count_answers_that_are_being_read(tmp_path: Path) -> None:
    page = MetricsPage()
    telemetry = open_telemetry("gateway", otlp_endpoint=None, metric_readers=(page.reader,))
    async with scripted_mesh(tmp_path) as mesh:
        await mesh.bus.feed.start()
        mesh.pause_after = 1
        async with serve_http(mesh.bus, telemetry=telemetry, metrics=page) as gateway:
            response = await gateway.ask({"stream": True})
            await until(lambda: has_open(gateway, 1))
            mesh.go.set()
            await read_sse(response)
            await until(lambda: has_open(gateway, 0))


async def has_open(gateway: HttpGateway, count: int) -> bool:
    return (await metrics_of(gateway)).get("ig3_gateway_open_streams") == count


async def metrics_of(gateway: HttpGateway) -> dict[str, float]:
    """The last value of each metric, whatever its labels."""
    text = await (await gateway.get("/metrics")).text()
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {name.partition("{")[0]: float(value) for name, value in lines}


async def test_without_metrics_there_is_no_such_page(gateway: HttpGateway) -> None:
    assert (await gateway.get("/metrics")).status == 404


async def test_a_taken_port_is_refused_with_its_owner(mesh: InProcessMesh, gateway: HttpGateway) -> None:
    with pytest.raises(PortInUse, match=r"is taken by .*--http"):
        async with serve_http(mesh.bus, http=str(gateway.server.address)):
            pass


async def test_an_address_of_another_machine_is_refused(mesh: InProcessMesh) -> None:
    with pytest.raises(GatewayError, match="cannot listen on"):
        async with serve_http(mesh.bus, http="203.0.113.1:0"):
            pass


async def test_ipv6_is_served(mesh: InProcessMesh) -> None:
    async with serve_http(mesh.bus, http="[::1]:0") as gateway:
        assert (await gateway.get("/healthz")).status == 200


async def test_a_stop_lets_a_running_answer_end(tmp_path: Path) -> None:
    async with scripted_mesh(tmp_path) as mesh:
        await mesh.bus.feed.start()
        mesh.pause_after = 2
        async with serve_http(mesh.bus, http_stop_timeout=timedelta(seconds=LIMIT_S)) as gateway:
            events = sse_events(await gateway.ask({"stream": True}))
            head = [await anext(events) for _ in range(3)]
            stopping = asyncio.create_task(gateway.server.__aexit__())
            await until(lambda: has_stopped_listening(gateway))
            mesh.go.set()
            tail = [event async for event in events]
            await stopping
    assert text_of(head + [event for event in tail if event.data]) == "".join(mesh.words)


async def test_a_stop_waits_no_longer_than_it_should(tmp_path: Path) -> None:
    async with scripted_mesh(tmp_path) as mesh:
        await mesh.bus.feed.start()
        mesh.pause_after = 2
        async with serve_http(mesh.bus, http_stop_timeout=timedelta(milliseconds=100)) as gateway:
            response = await gateway.ask({"stream": True}, x_ig3_on_disconnect="cancel")
            async with asyncio.timeout(LIMIT_S):
                await gateway.server.__aexit__()
        # The gateway's own stop is no hang-up of the client: the task goes on.
        mesh.go.set()
        async with serve_http(mesh.bus) as other:
            again = await other.ask(x_ig3_task=response.headers["x-ig3-task"])
            assert (await again.json())["choices"][0]["message"]["content"] == "".join(mesh.words)


async def answers(gateway: HttpGateway, path: str, status: int) -> bool:
    return (await gateway.get(path)).status == status


async def has_stopped_listening(gateway: HttpGateway) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.server.address.port)
    except OSError:
        return True
    writer.close()
    return False
