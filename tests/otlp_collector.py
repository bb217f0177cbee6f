"""A collector of OpenTelemetry's HTTP protocol for tests: takes what is sent, as protobuf, on a loopback port."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

PROTOBUF = "application/x-protobuf"


@dataclass
class Collector:
    """What has arrived, each with the ``service.name`` of its sender."""

    url: str = ""
    spans: list[tuple[str, Span]] = field(default_factory=list[tuple[str, Span]])
    metrics: list[tuple[str, Metric]] = field(default_factory=list[tuple[str, Metric]])

    def take(self, path: str, body: bytes) -> None:
        """Read one export."""
        if path == "/v1/traces":
            for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.spans += [(_service(group.resource), span) for scope in group.scope_spans for span in scope.spans]
        elif path == "/v1/metrics":
            for group in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                found = [metric for scope in group.scope_metrics for metric in scope.metrics]
                self.metrics += [(_service(group.resource), metric) for metric in found]
        else:
            raise AssertionError(f"nothing is sent to {path}")


@contextmanager
def running_collector() -> Iterator[Collector]:
    """Listen until the end of the block."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.headers["Content-Type"] == PROTOBUF
            collector.take(self.path, self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Type", PROTOBUF)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.url = f"http://127.0.0.1:{server.server_port}"
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            yield collector
        finally:
            server.shutdown()
            serving.join()


def _service(resource: Resource) -> str:
    attributes = {pair.key: pair.value.string_value for pair in resource.attributes}
    return attributes["service.name"]
