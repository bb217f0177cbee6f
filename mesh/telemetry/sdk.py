"""The OpenTelemetry SDK, wired: imported only by a process that sends telemetry somewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from mesh.telemetry.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.trace import SpanProcessor

_SCOPE = "ig3"
EXPORT_S: Final = 2.0
"""How long a collector may take for one export, tries again included: a process that stops waits for two of them."""


def open_sdk(
    service: str,
    otlp_endpoint: str | None,
    span_processors: Sequence[SpanProcessor],
    metric_readers: Sequence[MetricReader],
) -> Telemetry:
    """Make the providers; a kind of signal that nobody receives stays off."""
    resource = Resource.create({"service.name": service, "service.namespace": _SCOPE})
    processors, readers = [*span_processors], [*metric_readers]
    if otlp_endpoint is not None:
        processors.append(_otlp_spans(otlp_endpoint))
        readers.append(_otlp_metrics(otlp_endpoint))
    traces = TracerProvider(resource=resource) if processors else None
    for processor in processors:
        if traces is not None:
            traces.add_span_processor(processor)
    meters = MeterProvider(readers, resource) if readers else None
    return Telemetry(
        None if traces is None else traces.get_tracer(_SCOPE),
        None if meters is None else meters.get_meter(_SCOPE),
        [provider for provider in (traces, meters) if provider is not None],
    )


def _otlp_spans(endpoint: str) -> SpanProcessor:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return BatchSpanProcessor(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_S))


def _otlp_metrics(endpoint: str) -> MetricReader:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    return PeriodicExportingMetricReader(OTLPMetricExporter(f"{endpoint.rstrip('/')}/v1/metrics", timeout=EXPORT_S))
