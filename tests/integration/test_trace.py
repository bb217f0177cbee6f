"""One trace goes from the HTTP request to the node; metrics have the names of the conventions."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mesh.telemetry.opening import open_telemetry
from mesh.telemetry.telemetry import Telemetry
from tests.http_gateway import chat, read_sse, serve_http, until
from tests.mesh_in_process import InProcessMesh

CLIENT_TRACE = "0af7651916cd43dd8448eb211c80319c"
CLIENT_SPAN = "b7ad6b7169203331"


class Collector:
    """Receives what the mesh sends."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self.metrics = InMemoryMetricReader()
        self.telemetry = open_telemetry(
            "test",
            otlp_endpoint=None,
            span_processors=[SimpleSpanProcessor(self._spans)],
            metric_readers=[self.metrics],
        )

    def spans(self) -> dict[str, ReadableSpan]:
        """Finished spans by name."""
        return {span.name: span for span in self._spans.get_finished_spans()}

    async def until_ended(self, *names: str) -> dict[str, ReadableSpan]:
        """Wait for spans: the client has its answer before every process is done with it."""

        async def all_there() -> bool:
            return set(names) <= self.spans().keys()

        await until(all_there)
        return self.spans()

    def metric_names(self) -> set[str]:
        """Names of all that was measured."""
        data = self.metrics.get_metrics_data()
        assert data is not None
        return {
            metric.name
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture
def collector() -> Collector:
    return Collector()


@pytest.fixture
async def mesh(tmp_path: Path, collector: Collector) -> AsyncIterator[InProcessMesh]:
    async with InProcessMesh(folder=tmp_path / "mesh", telemetry=collector.telemetry) as running:
        yield running


async def ask(mesh: InProcessMesh, telemetry: Telemetry) -> None:
    async with serve_http(mesh.bus, telemetry=telemetry) as gateway:
        await gateway.until_served("synthetic")
        response = await gateway.session.post(
            f"{gateway.url}/v1/chat/completions",
            json=chat(model="synthetic", stream=True),
            headers={"traceparent": f"00-{CLIENT_TRACE}-{CLIENT_SPAN}-01"},
        )
        await read_sse(response)


async def test_every_step_continues_the_clients_trace(mesh: InProcessMesh, collector: Collector):
    await mesh.add_dispatcher()
    await mesh.add_node()

    await ask(mesh, collector.telemetry)
    spans = await collector.until_ended("chat", "dispatch", "generate")

    chat_span, dispatch, generate = spans["chat"], spans["dispatch"], spans["generate"]
    assert {f"{span.context.trace_id:032x}" for span in spans.values() if span.context} == {CLIENT_TRACE}
    assert chat_span.parent is not None
    assert dispatch.parent is not None
    assert generate.parent is not None
    assert f"{chat_span.parent.span_id:016x}" == CLIENT_SPAN
    assert chat_span.context is not None
    assert dispatch.context is not None
    assert dispatch.parent.span_id == chat_span.context.span_id
    assert generate.parent.span_id == dispatch.context.span_id
    assert dict(generate.attributes or {})["gen_ai.usage.output_tokens"] == 5


async def test_metrics_have_the_names_of_the_genai_conventions(mesh: InProcessMesh, collector: Collector):
    await mesh.add_dispatcher()
    await mesh.add_node()

    await ask(mesh, collector.telemetry)
    await collector.until_ended("dispatch")

    assert collector.metric_names() >= {
        "gen_ai.server.request.duration",
        "gen_ai.server.time_to_first_token",
        "gen_ai.server.time_per_output_token",
        "gen_ai.client.token.usage",
        "ig3.dispatcher.tasks_ended",
    }


async def test_a_mesh_that_records_nothing_still_passes_the_context_on(tmp_path: Path, collector: Collector):
    async with InProcessMesh(folder=tmp_path / "mesh") as mesh:
        await mesh.add_dispatcher()
        mesh.telemetry = collector.telemetry
        await mesh.add_node()
        await ask(mesh, Telemetry.off())

    context = (await collector.until_ended("generate"))["generate"].context
    assert context is not None
    assert f"{context.trace_id:032x}" == CLIENT_TRACE
