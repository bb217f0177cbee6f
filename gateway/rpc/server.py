"""Serving gRPC: the port, its certificate, what the server says of itself, and a stop that sends readers on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from gateway.bridge.boards import Boards
from gateway.errors import GatewayError
from gateway.http.server import FAREWELL_S, PortInUse
from gateway.http.submitting import INPUT_LIMIT
from gateway.rpc.call import streaming, unary
from gateway.rpc.service import Inference
from gateway.rpc.wire import inference_pb2 as pb
from mesh.broker.port_owner import describe_owner
from mesh.config.address import Address, parse_address
from mesh.errors import TlsError

if TYPE_CHECKING:
    from gateway.http.site import Site
    from mesh.tls.contexts import TlsFiles

SERVICE: Final = pb.DESCRIPTOR.services_by_name["Inference"].full_name

_HEALTH: Final[Any] = vars(health)["aio"]
"""The service of grpc.health.v1 for asyncio, which the package makes at import and no stub names."""

_add_health: Final[Any] = vars(health_pb2_grpc)["add_HealthServicer_to_server"]

_ROOM: Final = 16 * 1024
"""Bytes of a request beyond its input: names, and the fields of this API that no task has."""

_OPTIONS: Final = (
    # Two servers on one port would share its calls between them.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", INPUT_LIMIT + _ROOM),
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)


class RpcServer:
    """An async context: inside it, gRPC is served."""

    def __init__(self, site: Site, place: str) -> None:
        """Prepare to serve for ``site`` at ``place``, HOST:PORT."""
        self._site = site
        self._boards = Boards(site.bus, site.submissions)
        self._health = _HEALTH.HealthServicer()
        self._server = grpc.aio.server(options=_OPTIONS)
        self.address = parse_address(place)

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            PortInUse: if the port is taken.
            TlsError: if the certificate or its key cannot be used.
        """
        self._server.add_generic_rpc_handlers((_handlers(self._site, Inference(self._site, self._boards)),))
        _add_health(self._health, self._server)
        reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)
        self.address = Address(self.address.host, self._listen())
        await self._server.start()
        for name in ("", SERVICE):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Take no more calls, let running answers end for as long as the settings say, then send readers on."""
        leaving = self._site.leaving
        leaving.begin()
        await self._health.enter_graceful_shutdown()
        await leaving.drain(self._site.settings.http_stop_timeout)
        await self._server.stop(FAREWELL_S)
        await self._boards.close()

    def _listen(self) -> int:
        place, tls = str(self.address), self._site.settings.tls
        try:
            if tls is None:
                return self._server.add_insecure_port(place)
            return self._server.add_secure_port(place, _credentials(tls))
        except RuntimeError as error:
            owner = describe_owner(self.address.port)
            raise PortInUse(f"{place} is taken by {owner}: stop it, or choose another with --grpc HOST:PORT") from error


def _handlers(site: Site, service: Inference) -> grpc.GenericRpcHandler:
    """Put each call of the service behind the door."""
    calls = {
        "Submit": _one(unary(site, service.submit, counts=False), pb.SubmitRequest),
        "Stream": _many(streaming(site, service.stream, counts=False), pb.SubmitRequest),
        "Resume": _many(streaming(site, service.resume, counts=True), pb.ResumeRequest),
        "Get": _one(unary(site, service.get, counts=True), pb.GetRequest),
        "Cancel": _one(unary(site, service.cancel, counts=True), pb.CancelRequest),
        "Watch": _many(streaming(site, service.watch, counts=True), pb.WatchRequest),
        "ListModels": _one(unary(site, service.list_models, counts=True), pb.ListModelsRequest),
        "GetUsage": _one(unary(site, service.get_usage, counts=True), pb.GetUsageRequest),
    }
    return grpc.method_handlers_generic_handler(SERVICE, calls)


def _one(handle: Any, request: type[Any]) -> grpc.RpcMethodHandler[Any, Any]:
    return grpc.unary_unary_rpc_method_handler(handle, request.FromString, _written)


def _many(handle: Any, request: type[Any]) -> grpc.RpcMethodHandler[Any, Any]:
    return grpc.unary_stream_rpc_method_handler(handle, request.FromString, _written)


def _written(message: Any) -> bytes:
    return message.SerializeToString()


def _credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """What the server shows, read anew for each connection so that a renewed certificate is shown at once."""
    try:
        first = _configuration(files)
    except OSError as error:
        raise TlsError(f"the certificate {files.cert} with the key {files.key} cannot be used: {error}") from error

    def fetch() -> grpc.ServerCertificateConfiguration:
        return _configuration(files)  # where it raises, gRPC shows what it showed before

    return grpc.dynamic_ssl_server_credentials(first, fetch, require_client_authentication=files.ca is not None)


def _configuration(files: TlsFiles) -> grpc.ServerCertificateConfiguration:
    if files.cert is None or files.key is None:
        raise GatewayError("a certificate and its key go together")
    authority = None if files.ca is None else files.ca.read_bytes()
    pair = [(files.key.read_bytes(), files.cert.read_bytes())]
    return grpc.ssl_server_certificate_configuration(pair, root_certificates=authority)
