"""One HTTP server that an engine asks, and the one place where what can go wrong with it becomes an `EngineError`."""

from __future__ import annotations

import contextlib
import logging
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec

from nodes.engines.remote.failures import NotServed, error_of, failure_in
from nodes.engines.remote.steps import Steps
from nodes.errors import EngineAway, EngineError, EngineUnavailable, RequestRefused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from nodes.engines.remote.api_key import ApiKey

T = TypeVar("T")

log = logging.getLogger(__name__)

_CONNECT_S: Final = 5.0
_LOOK_S: Final = 10.0
"""How long an answer may take that costs a server no thought."""
_LARGEST_BODY: Final = 8 << 20
_LARGEST_FAILURE: Final = 64 << 10
_OK: Final = 200
_HEADERS: Final = {
    # Nothing that a compressor holds back, or that unpacks to more than was read.
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
    # To the gateway of another mesh; it would write an answer to its end for a reader who may come back.
    "x-ig3-on-disconnect": "cancel",
}
_VERSION: Final = re.compile(r"/v\d+$")
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class HttpServer:
    """Where it is and what it wants to see. ``open`` before use, within the event loop."""

    def __init__(self, url: str, key: ApiKey, *, patience_s: float) -> None:
        """Take ``url`` with or without the ``/v1`` of OpenAI's API; more than ``patience_s`` of silence is a failure.

        Raises:
            EngineUnavailable: it is no URL that a server can be asked at.
        """
        self.root, self.api = _parts_of(url)
        self._key = key
        self._patience_s = patience_s
        self._session: aiohttp.ClientSession | None = None
        self._steps = Steps()
        self._responses: set[aiohttp.ClientResponse] = set()
        if key and urlsplit(url).scheme == "http" and urlsplit(url).hostname not in _LOCAL:
            log.warning("the API key for %s travels in plain text: use https", self.root)

    @property
    def key(self) -> ApiKey:
        """The key that it is sent."""
        return self._key

    def open(self) -> None:
        """Begin; no cookies are kept, and nothing of the environment decides where requests go; may be repeated."""
        if self._session is not None:
            return
        # A connection for each question: one that is kept may be closed by the server just when it is asked again. No
        # limit, because somebody else counts the seats.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    async def close(self) -> None:
        """Cut every connection, whatever runs on it; who waits for an answer is told."""
        self._steps.stop()
        # The session alone would close connections under their readers and leave these waiting for ever.
        for response in tuple(self._responses):
            response.close()
        if self._session is not None:
            await self._session.close()

    async def get(self, url: str, kind: type[T]) -> T:
        """Ask for a JSON document.

        Raises:
            EngineError: it did not come, or is another one.
        """
        return _read_json(await self._fetch(url), kind)

    async def get_text(self, url: str) -> str:
        """Ask for a text.

        Raises:
            EngineError: it did not come.
        """
        return (await self._fetch(url)).decode("utf-8", errors="replace")

    async def reach(self) -> None:
        """Find out whether it answers at all.

        Raises:
            EngineError: it does not, or fails.
        """
        with contextlib.suppress(NotServed, RequestRefused):
            await self._fetch(self.root)

    async def _fetch(self, url: str) -> bytes:
        limit = aiohttp.ClientTimeout(total=_LOOK_S, sock_connect=_CONNECT_S)
        async with self._asked("GET", url, None, limit) as response:
            return await whole_body(response)

    @asynccontextmanager
    async def post(self, url: str, body: bytes) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        """Send a request and give its answer, whose body may go on for long; leaving closes the connection.

        Raises:
            EngineError: no answer came, it was an error, or what is read of it inside breaks off.
        """
        limit = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=self._patience_s)
        async with self._asked("POST", url, body, limit) as response:
            yield response

    @asynccontextmanager
    async def _asked(
        self, method: str, url: str, body: bytes | None, limit: aiohttp.ClientTimeout
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        if self._session is None or self._session.closed:
            raise EngineUnavailable("the engine was stopped or not started yet")
        headers = {**_HEADERS, **self._key.headers}
        request = self._session.request(method, url, data=body, headers=headers, timeout=limit, allow_redirects=False)
        try:
            response = await self._steps.wait_for(request)
            self._responses.add(response)
            try:
                if response.status != _OK:
                    said = await response.content.read(_LARGEST_FAILURE)
                    raise error_of(response.status, failure_in(said), self._key)
                yield response
            finally:
                # Not released: a server stops working on an answer only when its reader has gone.
                response.close()
                self._responses.discard(response)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            if self._session.closed:
                raise EngineUnavailable("the engine was stopped") from error
            raise self._translated(error) from error

    def _translated(self, error: Exception) -> EngineError:
        match error:
            case aiohttp.ConnectionTimeoutError() | aiohttp.ClientConnectorError():
                return EngineAway(f"nobody answers at {self.root}: {self._key.hide(str(error))}")
            case TimeoutError():
                return EngineError(f"the server says nothing for {self._patience_s:.0f} s")
            case aiohttp.ServerDisconnectedError() | ConnectionError() | aiohttp.ClientPayloadError():
                return EngineError("the server cut the connection in the middle of an answer")
            case _:
                return EngineError(f"the server sent what is no HTTP: {self._key.hide(str(error))}")


async def whole_body(response: aiohttp.ClientResponse) -> bytes:
    """Read an answer that is no stream.

    Raises:
        EngineError: it is longer than anything a server has to say.
    """
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > _LARGEST_BODY:
            raise EngineError(f"the server sent more than {_LARGEST_BODY >> 20} MiB where a short answer was expected")
    return bytes(body)


def _read_json(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EngineError(f"the server sent what cannot be read: {error}") from error


def _parts_of(url: str) -> tuple[str, str]:
    """The server, and its OpenAI API."""
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
        parts = urlsplit("")
    if not usable:
        raise EngineUnavailable("the URL of a server begins with http:// or https:// and names it: give it by --url")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise EngineUnavailable("the URL of a server holds no password and no ?: give its key by --engine-key-file")
    path = parts.path.rstrip("/")
    root = _VERSION.sub("", path)
    api = path if path != root else f"{path}/v1"
    server = f"{parts.scheme}://{parts.netloc}"
    return server + root, server + api
