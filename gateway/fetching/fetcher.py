"""Fetching what a user's URL names: from public addresses only, few redirects, little time, bounded size.

Nothing of the gateway goes along: no cookie, no credential, no proxy of its environment. What comes is not unpacked, so
its size is what it takes.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import aiohttp
from yarl import URL

from gateway.errors import GatewayError
from gateway.fetching.addresses import NotPublic, address_in, is_public
from gateway.fetching.pinned_resolver import PinnedResolver, Resolve, resolve_by_system

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Callable

    from gateway.fetching.addresses import Address

FetchUrls = Literal["off", "https", "http"]
"""Whether anything is fetched that a user names: nothing, over https, or over http as well."""

_LONGEST_URL: Final = 2048
_MOST_REDIRECTS: Final = 3
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_OK: Final = 200
_CHUNK: Final = 65_536
_PORTS: Final = {"https": 443, "http": 80}
_FIRST_FREE_PORT: Final = 1024
"""Below it other services listen than those of HTTP."""
_HEADERS: Final = {"User-Agent": "ig3", "Accept-Encoding": "identity"}
_AT_ONCE: Final = 32


class FetchRefused(GatewayError):
    """A URL that nothing is fetched from; the message says why, and fits behind a colon."""


class FetchFailed(GatewayError):
    """What a URL names could not be fetched; the message says why, and fits behind a colon."""


class FetchPolicy(NamedTuple):
    """What may be fetched."""

    urls: FetchUrls = "https"
    within: timedelta = timedelta(seconds=10)
    """Redirects included."""
    resolve: Resolve = resolve_by_system
    is_allowed: Callable[[Address], bool] = is_public
    tls: ssl.SSLContext | None = None
    """Whom to trust; None: whom the system trusts."""


class Fetcher:
    """Fetches for one gateway, so much at once and no more."""

    def __init__(self, policy: FetchPolicy | None = None) -> None:
        """Keep to ``policy``; without one, to the strictest that fetches at all."""
        self._policy = policy or FetchPolicy()
        self._room = asyncio.Semaphore(_AT_ONCE)

    def check(self, text: str) -> URL:
        """Read a URL that something may be fetched from, as far as it tells by itself.

        Raises:
            FetchRefused: saying why not.
        """
        if len(text) > _LONGEST_URL:
            raise FetchRefused(f"it is longer than {_LONGEST_URL} characters")
        try:
            url = URL(text)
            port = url.explicit_port
        except ValueError as error:
            raise FetchRefused("it is no URL") from error
        self._check_scheme(url)
        if url.user is not None or url.password is not None:
            raise FetchRefused("it has a user or a password in it")
        if port is not None and port != _PORTS[url.scheme] and port < _FIRST_FREE_PORT:
            raise FetchRefused(f"nothing is fetched from port {port}")
        address = address_in(url.host or "")
        if address is not None and not self._policy.is_allowed(address):
            raise FetchRefused("its host has an address that is not public")
        return url

    async def fetch(self, text: str, *, most_bytes: int, accept: str = "*/*") -> bytes:
        """Fetch what a URL names.

        Raises:
            FetchRefused: if it, or where it leads, is nothing to fetch from.
            FetchFailed: if it does not come, or is larger than ``most_bytes``.
        """
        within_s = self._policy.within.total_seconds()
        try:
            async with asyncio.timeout(within_s), self._room, self._session() as session:
                return await self._follow(session, self.check(text), most_bytes, accept)
        except NotPublic as error:
            raise FetchRefused(str(error)) from error
        except TimeoutError as error:
            raise FetchFailed(f"it did not come within {within_s:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Which of the ways it failed is nobody's to know: that would map what is reachable from here.
            raise FetchFailed("it could not be fetched") from error

    async def _follow(self, session: aiohttp.ClientSession, url: URL, most_bytes: int, accept: str) -> bytes:
        for _ in range(_MOST_REDIRECTS + 1):
            headers = {**_HEADERS, "Accept": accept}
            async with session.get(url, headers=headers, allow_redirects=False) as response:
                if response.status not in _REDIRECTS:
                    return await _body_of(response, most_bytes)
                url = self.check(str(url.join(URL(response.headers.get("Location", "")))))
        raise FetchRefused(f"it is redirected more than {_MOST_REDIRECTS} times")

    @asynccontextmanager
    async def _session(self) -> AsyncGenerator[aiohttp.ClientSession]:
        policy = self._policy
        connector = aiohttp.TCPConnector(
            resolver=PinnedResolver(policy.resolve, policy.is_allowed),
            use_dns_cache=False,
            force_close=True,
            ssl=policy.tls or True,
        )
        async with aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, trust_env=False
        ) as session:
            yield session

    def _check_scheme(self, url: URL) -> None:
        if self._policy.urls == "off":
            raise FetchRefused("nothing is fetched here: send a data URL")
        allowed = ("https", "http") if self._policy.urls == "http" else ("https",)
        if url.scheme not in allowed or not url.host:
            raise FetchRefused(f"it is no URL of {' or '.join(allowed)}, and no data URL")


async def _body_of(response: aiohttp.ClientResponse, most_bytes: int) -> bytes:
    if response.status != _OK:
        raise FetchFailed(f"its server answers {response.status}")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise FetchFailed("it comes packed, although that was not asked for")
    if (response.content_length or 0) > most_bytes:
        raise FetchFailed(f"it is larger than {most_bytes} bytes")
    body = bytearray()
    async for part in response.content.iter_chunked(_CHUNK):
        body += part
        if len(body) > most_bytes:
            raise FetchFailed(f"it is larger than {most_bytes} bytes")
    return bytes(body)
