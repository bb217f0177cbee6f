"""Listening: the socket, one connection at a time, and a stop that lets running answers end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import resource
import socket
from typing import TYPE_CHECKING, Any, Final, Self, cast

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong

from gateway.errors import GatewayError
from gateway.http.arrivals import Arrivals
from gateway.http.errors import ApiError, unexpected
from gateway.http.protection import protection
from gateway.http.site import SITE
from gateway.http.wishes import REQUEST_ID, request_id
from mesh.broker.port_owner import describe_owner
from mesh.config.address import Address, parse_address
from mesh.tls.contexts import renew, server_context
from mesh.tls.watch import LOOK_EVERY, follow_files

if TYPE_CHECKING:
    import ssl

    from gateway.settings import GatewaySettings

log = logging.getLogger(__name__)

_BACKLOG: Final = 1024
_SEND_BUFFER: Final = 128 * 1024
"""Bytes that the kernel keeps for a client that does not read; left to itself it keeps megabytes."""

FAREWELL_S: Final = 2.0
"""How long, behind the stop timeout, a client may take to be told where to go on."""

_HANDSHAKE_S: Final = 10.0
"""How long a client may take to come to terms about TLS."""

_LINGER_S: Final = 2.0
"""How long to swallow the rest of a refused body, so that the client gets to read the refusal."""


class PortInUse(GatewayError):
    """Somebody else listens where HTTP should be served."""


class HttpServer:
    """An async context: inside it, the application is served."""

    def __init__(self, app: web.Application, settings: GatewaySettings) -> None:
        """Prepare; nothing listens before the context is entered."""
        self._app = app
        self._settings = settings
        # aiohttp waits this long twice: for the request, then for its handler.
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=FAREWELL_S / 2)
        self._server: asyncio.Server | None = None
        self._arrivals = Arrivals(settings.http_connections_per_address, settings.proxies)
        self._following: asyncio.Task[None] | None = None
        self.address = parse_address(settings.http)

    @property
    def url(self) -> str:
        """Where it is served."""
        return self.address.http_url if self._settings.tls is None else self.address.https_url

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            PortInUse: if the port is taken.
            TlsError: if the certificate or its key cannot be used.
            GatewayError: if there is no such address on this machine.
        """
        tls = None if self._settings.tls is None else server_context(self._settings.tls)
        await self._runner.setup()
        _allow_many_connections()
        try:
            sock = _listen(self.address)
        except BaseException:
            await self._runner.cleanup()
            raise
        loop = asyncio.get_running_loop()
        self.address = Address(self.address.host, sock.getsockname()[1])
        patience_s = None if tls is None else _HANDSHAKE_S
        self._server = await loop.create_server(
            self._connection, sock=sock, backlog=_BACKLOG, ssl=tls, ssl_handshake_timeout=patience_s
        )
        if tls is not None:
            self._following = asyncio.create_task(self._follow_certificate(tls), name="http-certificate")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Take no more connections, let running answers end for as long as the settings say, then say goodbye."""
        if self._following is not None:
            self._following.cancel()
        leaving = self._app[SITE].leaving
        leaving.begin()
        if self._server is not None:
            self._server.close()
        await leaving.drain(self._settings.http_stop_timeout)
        await self._runner.cleanup()

    async def _follow_certificate(self, context: ssl.SSLContext) -> None:
        files = self._settings.tls
        if files is None:
            return

        async def take() -> None:
            renew(context, files)

        await follow_files(files.given, take, every=LOOK_EVERY)

    def _connection(self) -> asyncio.Protocol:
        server = self._runner.server
        if server is None:
            raise GatewayError("the HTTP server is not set up")
        return _Connection(
            self._arrivals,
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # pyright: ignore[reportArgumentType] - aiohttp documents None as "no access log"
            keepalive_timeout=self._settings.http_idle_timeout.total_seconds(),
            lingering_time=_LINGER_S,
        )


class _Connection(web.RequestHandler):
    """aiohttp's connection, with errors of the protocol itself in OpenAI's shape too."""

    __slots__ = ("_arrivals", "_counted")

    def __init__(self, arrivals: Arrivals, manager: web.Server, **options: Any) -> None:
        super().__init__(manager, **options)
        self._arrivals = arrivals
        self._counted = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection, unless its address has too many."""
        super().connection_made(transport)
        peer = cast("tuple[str, int] | None", transport.get_extra_info("peername"))
        if peer is None:
            return
        if self._arrivals.admit(peer[0]):
            self._counted = peer[0]
        else:
            cast("asyncio.Transport", transport).abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Count a connection no more."""
        super().connection_lost(exc)
        if self._counted:
            self._arrivals.leave(self._counted)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what no handler could."""
        if request.writer.output_size > 0:
            log.error("an answer to %s broke off", request.remote, exc_info=exc)
            raise ConnectionError("the answer has begun already")
        if isinstance(exc, BadHttpMessage):
            error = ApiError(431 if isinstance(exc, LineTooLong) else 400, _brief(exc.message), code="invalid_http")
        else:
            log.error("a request of %s failed with status %d: %s", request.remote, status, message, exc_info=exc)
            error = unexpected()
        response = error.response()
        response.headers.update({REQUEST_ID: request_id(request), "Server": "ig3", **protection(by_tls=False)})
        response.force_close()
        return response


def _brief(message: str) -> str:
    first = message.strip().partition("\n")[0].rstrip(":")
    return f"The request is not HTTP: {first[:200]}."


def _allow_many_connections() -> None:
    """Raise this process's limit of open files to what it may have: the usual 1024 would be that many streams."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit this from the socket that they came in by.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address.host, address.port))
        sock.listen(_BACKLOG)
    except OSError as error:
        with contextlib.suppress(OSError):
            sock.close()
        raise _explain(address, error) from error
    sock.setblocking(False)
    return sock


def _explain(address: Address, error: OSError) -> GatewayError:
    if error.errno == errno.EADDRINUSE:
        owner = describe_owner(address.port)
        return PortInUse(f"{address} is taken by {owner}: stop it, or choose another address with --http HOST:PORT")
    return GatewayError(f"cannot listen on {address}: {error.strerror or error}; choose another with --http HOST:PORT")
