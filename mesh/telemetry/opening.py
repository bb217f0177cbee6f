"""How a process comes by its telemetry: the SDK is imported only where somebody receives something."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.telemetry.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.trace import SpanProcessor


def open_telemetry(
    service: str,
    *,
    otlp_endpoint: str | None,
    span_processors: Sequence[SpanProcessor] = (),
    metric_readers: Sequence[MetricReader] = (),
) -> Telemetry:
    """Open telemetry for a process: to an OTLP endpoint (HTTP), to the given processors and readers, or off.

    Args:
        service: ``service.name`` of the resource.
        otlp_endpoint: base URL of a collector, such as ``http://127.0.0.1:4318``; None sends nothing.
        span_processors: further receivers of spans.
        metric_readers: further readers of metrics, such as Prometheus'.
    """
    if otlp_endpoint is None and not span_processors and not metric_readers:
        return Telemetry.off()
    from mesh.telemetry.sdk import open_sdk

    return open_sdk(service, otlp_endpoint, span_processors, metric_readers)
