"""Traces and metrics leave a process by OTLP over HTTP, and arrive at a collector as what they were."""

import pytest

from mesh.telemetry.names import OPEN_STREAMS, TIME_TO_FIRST_TOKEN
from mesh.telemetry.opening import open_telemetry
from tests.otlp_collector import running_collector

CLIENT_TRACE = "0af7651916cd43dd8448eb211c80319c"
CLIENT_SPAN = "b7ad6b7169203331"


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_trace_arrives_with_its_parents_attributes_and_errors(slash: str) -> None:
    with running_collector() as collector:
        telemetry = open_telemetry("ig3-test", otlp_endpoint=collector.url + slash)
        outer = telemetry.span("chat", parent=f"00-{CLIENT_TRACE}-{CLIENT_SPAN}-01", role="server")
        inner = telemetry.span("dispatch", parent=outer.traceparent, attributes={"ig3.task": "t"})
        inner.note("ig3.attempt", 2)
        inner.end("node_lost")
        outer.end()
        telemetry.close()
        spans = {span.name: span for service, span in collector.spans if service == "ig3-test"}
    assert {span.trace_id.hex() for span in spans.values()} == {CLIENT_TRACE}
    assert spans["chat"].parent_span_id.hex() == CLIENT_SPAN
    assert spans["chat"].kind == spans["chat"].SPAN_KIND_SERVER
    assert spans["dispatch"].parent_span_id == spans["chat"].span_id
    assert {pair.key for pair in spans["dispatch"].attributes} == {"ig3.task", "ig3.attempt"}
    status = spans["dispatch"].status
    assert (status.code, status.message) == (status.STATUS_CODE_ERROR, "node_lost")
    assert spans["chat"].status.code == status.STATUS_CODE_UNSET


def test_metrics_arrive_with_their_units_and_values() -> None:
    with running_collector() as collector:
        telemetry = open_telemetry("ig3-test", otlp_endpoint=collector.url)
        telemetry.record(TIME_TO_FIRST_TOKEN, 0.2, {"gen_ai.request.model": "m"})
        telemetry.record(TIME_TO_FIRST_TOKEN, 0.4, {"gen_ai.request.model": "m"})
        telemetry.add(OPEN_STREAMS, 3)
        telemetry.add(OPEN_STREAMS, -1)
        telemetry.close()
        metrics = {metric.name: metric for service, metric in collector.metrics if service == "ig3-test"}
    (seconds,) = metrics["gen_ai.server.time_to_first_token"].histogram.data_points
    assert (seconds.count, seconds.sum) == (2, pytest.approx(0.6))
    assert tuple(seconds.explicit_bounds) == TIME_TO_FIRST_TOKEN.bounds
    assert metrics["gen_ai.server.time_to_first_token"].unit == "s"
    (held,) = metrics["ig3.gateway.open_streams"].sum.data_points
    assert held.as_int == 2
    assert not metrics["ig3.gateway.open_streams"].sum.is_monotonic


def test_a_collector_that_is_gone_ends_no_process() -> None:
    with running_collector() as collector:
        url = collector.url
    telemetry = open_telemetry("ig3-test", otlp_endpoint=url)
    telemetry.span("chat", parent=None).end()
    telemetry.close()
