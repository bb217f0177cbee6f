"""``/metrics``: what this process has counted, for Prometheus. Imported only where metrics are on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from gateway.auth.caller import CALLER_KEY, need_operator

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricReader
    from prometheus_client.registry import Collector


class MetricsPage:
    """A registry of its own, so that two gateways in one process do not mix; hand ``reader`` to ``open_telemetry``."""

    def __init__(self, collector: Collector | None = None) -> None:
        """Start with nothing counted; ``collector`` is asked at each scrape."""
        self._registry = CollectorRegistry()
        if collector is not None:
            self._registry.register(collector)
        self.reader: MetricReader = PrometheusMetricReader(registry=self._registry)

    async def show(self, request: web.Request) -> web.Response:
        """Answer in Prometheus' text format, which is of all accounts together."""
        need_operator(request[CALLER_KEY])
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
