"""The live page over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession, web

from gateway.page import routes


@pytest.fixture
async def url() -> AsyncIterator[str]:
    app = web.Application()
    routes.add_routes(app)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


KINDS = {
    "/": "text/html; charset=utf-8",
    "/page/main.js": "text/javascript; charset=utf-8",
    "/page/vendor/preact.mjs": "text/javascript; charset=utf-8",
    "/page/style/tokens.css": "text/css; charset=utf-8",
    "/page/vendor/inter-latin.woff2": "font/woff2",
    "/page/icon.svg": "image/svg+xml",
}


@pytest.mark.parametrize(("path", "kind"), KINDS.items())
async def test_every_kind_of_file_is_served_as_what_it_is(url: str, path: str, kind: str) -> None:
    async with ClientSession() as http, http.get(url + path) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == kind
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert await response.read()


async def test_the_page_may_run_its_own_scripts_only_and_stands_in_no_frame(url: str) -> None:
    async with ClientSession() as http, http.get(url) as response:
        policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("path", KINDS)
async def test_what_a_browser_has_is_not_sent_again(url: str, path: str) -> None:
    async with ClientSession() as http:
        async with http.get(url + path) as first:
            etag = first.headers["ETag"]
        async with http.get(url + path, headers={"If-None-Match": etag}) as again:
            assert (again.status, await again.read(), again.headers["ETag"]) == (304, b"", etag)
        async with http.get(url + path, headers={"If-None-Match": '"older"'}) as changed:
            assert changed.status == 200


async def test_head_answers_like_get_without_a_body(url: str) -> None:
    async with ClientSession() as http, http.head(url) as response:
        assert (response.status, await response.read()) == (200, b"")


OUTSIDE = [
    "/page/../assets.py",
    "/page/..%2fassets.py",
    "/page/%2e%2e/assets.py",
    "/page/%2e%2e%2fassets.py",
    "/page/..%5cassets.py",
    "/page//etc/passwd",
    "/page/%2fetc%2fpasswd",
    "/page/index.html%00.js",
    "/page/vendor",
    "/page/vendor/",
    "/page/",
]


@pytest.mark.parametrize("path", OUTSIDE)
async def test_nothing_outside_can_be_named(url: str, path: str) -> None:
    """On a bare connection: client libraries tidy paths up."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 404")
