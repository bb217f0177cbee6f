"""Fetching what a URL names, from real servers on loopback: a resolver of the test says which names lead there."""

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from gateway.fetching.addresses import Address, is_public
from gateway.fetching.fetcher import Fetcher, FetchFailed, FetchPolicy, FetchRefused
from tests.certificates import Authority
from tests.served_app import served

MOST = 100_000
PATIENCE = timedelta(seconds=30)
HOME = "127.0.0.1"
SECRET = b"of this machine only"


class Web:
    """A server on loopback, and what a test says of names."""

    def __init__(self, url: str) -> None:
        self.port = int(url.rpartition(":")[2])
        self.asked: list[web.Request] = []
        self.looked_up: list[str] = []
        self.addresses = {"public.test": [HOME], "inside.test": ["10.0.0.7"], "both.test": [HOME, "10.0.0.7"]}

    def url(self, path: str = "/x", host: str = "public.test") -> str:
        return f"http://{host}:{self.port}{path}"

    async def resolve(self, host: str, _port: int) -> list[str]:
        self.looked_up.append(host)
        if host not in self.addresses:
            raise OSError("no such name")
        return self.addresses[host]

    def fetcher(self, **policy: object) -> Fetcher:
        usual = {"urls": "http", "resolve": self.resolve, "is_allowed": public_or_home, "within": PATIENCE}
        chosen = {**usual, **policy}
        return Fetcher(FetchPolicy(**chosen))  # type: ignore[arg-type] # what a test chooses is of the right type


def public_or_home(address: Address) -> bool:
    """What the tests' server has is public here; nothing else that is not."""
    return address == ipaddress.ip_address(HOME) or is_public(address)


@pytest.fixture
async def site() -> AsyncIterator[Web]:
    async def answer(request: web.Request) -> web.StreamResponse:
        here.asked.append(request)
        return await ANSWERS[request.match_info["kind"]](request)

    app = web.Application()
    app.router.add_get("/{kind}", answer)
    async with served(app) as url:
        here = Web(url)
        yield here


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def body(_: web.Request) -> web.Response:
    return web.Response(body=SECRET)


async def large(request: web.Request) -> web.StreamResponse:
    """More than may come, without saying so before."""
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(100):
        await response.write(b"x" * 10_000)
    return response


async def said_large(_: web.Request) -> web.Response:
    return web.Response(body=b"x" * (MOST + 1))


async def packed(_: web.Request) -> web.Response:
    return web.Response(body=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})


async def stuck(_: web.Request) -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError("nobody waits for this")


async def missing(_: web.Request) -> web.Response:
    return web.Response(status=404, body=b"no")


async def leaving(request: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": request.query["to"]})


async def again(_: web.Request) -> web.Response:
    return web.Response(status=307, headers={"Location": "/again"})


async def headers_of(request: web.Request) -> web.Response:
    return web.json_response(sorted(request.headers))


ANSWERS: dict[str, Answer] = {
    "x": body,
    "large": large,
    "said_large": said_large,
    "packed": packed,
    "stuck": stuck,
    "missing": missing,
    "leaving": leaving,
    "again": again,
    "headers": headers_of,
}


async def test_what_a_name_leads_to_is_fetched_with_one_look_at_the_name(site: Web) -> None:
    assert await site.fetcher().fetch(site.url(), most_bytes=MOST) == SECRET
    assert site.looked_up == ["public.test"]


async def test_nothing_of_the_gateway_goes_along(site: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    sent = await site.fetcher().fetch(site.url("/headers"), most_bytes=MOST)
    assert sent == b'["Accept", "Accept-Encoding", "Connection", "Host", "User-Agent"]'


@pytest.mark.parametrize("host", ["inside.test", "both.test", "10.0.0.7", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"])
async def test_what_is_not_public_is_refused_whatever_it_is_called(site: Web, host: str) -> None:
    with pytest.raises(FetchRefused, match="not public"):
        await site.fetcher().fetch(site.url(host=host), most_bytes=MOST)


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f.1", "localhost", "017700000001"])
async def test_odd_spellings_of_this_machine_are_resolved_and_refused(site: Web, host: str) -> None:
    strict = Fetcher(FetchPolicy(urls="http"))
    with pytest.raises((FetchRefused, FetchFailed)):
        await strict.fetch(site.url(host=host), most_bytes=MOST)


async def test_a_name_that_leads_elsewhere_the_second_time_is_asked_once(site: Web) -> None:
    """DNS rebinding: the check and the connection use one answer."""
    answers_of_dns = iter([[HOME], ["10.0.0.7"]])

    async def rebinding(_host: str, _port: int) -> list[str]:
        return next(answers_of_dns)

    assert await site.fetcher(resolve=rebinding).fetch(site.url(), most_bytes=MOST) == SECRET
    assert next(answers_of_dns) == ["10.0.0.7"]


async def test_each_redirect_is_looked_at_anew(site: Web) -> None:
    fetch = site.fetcher().fetch
    assert await fetch(site.url(f"/leaving?to={site.url()}"), most_bytes=MOST) == SECRET
    assert await fetch(site.url("/leaving?to=/x"), most_bytes=MOST) == SECRET
    for to in (site.url(host="inside.test"), "http://10.0.0.7/", "file:///etc/passwd", "https://u:p@public.test/"):
        with pytest.raises(FetchRefused):
            await fetch(site.url(f"/leaving?to={to}"), most_bytes=MOST)


async def test_redirects_without_end_are_cut_short(site: Web) -> None:
    with pytest.raises(FetchRefused, match="redirected more than 3 times"):
        await site.fetcher().fetch(site.url("/again"), most_bytes=MOST)
    assert len(site.asked) == 4


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/large", "larger than 100000 bytes"),
        ("/said_large", "larger than 100000 bytes"),
        ("/packed", "packed"),
        ("/missing", "answers 404"),
    ],
)
async def test_what_does_not_come_as_it_should_is_said(site: Web, path: str, why: str) -> None:
    with pytest.raises(FetchFailed, match=why):
        await site.fetcher().fetch(site.url(path), most_bytes=MOST)


async def test_a_server_that_never_answers_is_given_up(site: Web) -> None:
    with pytest.raises(FetchFailed, match=r"did not come within 0\.05 s"):
        await site.fetcher(within=timedelta(milliseconds=50)).fetch(site.url("/stuck"), most_bytes=MOST)


async def test_why_nothing_can_be_reached_is_nobodys_to_know(site: Web) -> None:
    for url in (site.url(host="unknown.test"), "http://public.test:1025/"):
        with pytest.raises(FetchFailed) as failed:
            await site.fetcher().fetch(url, most_bytes=MOST)
        assert str(failed.value) == "it could not be fetched"


@pytest.mark.parametrize(
    "url",
    [
        "http://public.test/x",
        "ftp://public.test/x",
        "https://user@public.test/x",
        "https://public.test:25/x",
        "https:///x",
        "//public.test/x",
        "",
        "https://" + "x" * 3000,
        "https://[::1/x",
    ],
)
async def test_urls_that_are_none_are_refused_before_anything_is_looked_up(site: Web, url: str) -> None:
    fetcher = Fetcher(FetchPolicy(resolve=site.resolve))
    with pytest.raises(FetchRefused):
        fetcher.check(url)
    with pytest.raises(FetchRefused):
        await fetcher.fetch(url, most_bytes=MOST)
    assert site.looked_up == []


async def test_where_nothing_is_fetched_nothing_is(site: Web) -> None:
    with pytest.raises(FetchRefused, match="send a data URL"):
        Fetcher(FetchPolicy(urls="off", resolve=site.resolve)).check("https://public.test/x")


async def test_a_certificate_must_be_of_the_name_that_was_asked_for(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    shown = authority.shown("public.test")
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    assert shown.cert is not None
    server.load_cert_chain(shown.cert, shown.key)
    app = web.Application()
    app.router.add_get("/x", body)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, HOME, 0, ssl_context=server).start()
    port = runner.addresses[0][1]

    async def resolve(_host: str, _port: int) -> list[str]:
        return [HOME]

    trusted = ssl.create_default_context(cafile=authority.ca)
    fetcher = Fetcher(FetchPolicy(resolve=resolve, is_allowed=public_or_home, tls=trusted, within=PATIENCE))
    assert await fetcher.fetch(f"https://public.test:{port}/x", most_bytes=MOST) == SECRET
    for url, policy in (
        (f"https://other.test:{port}/x", FetchPolicy(resolve=resolve, is_allowed=public_or_home, tls=trusted)),
        (f"https://public.test:{port}/x", FetchPolicy(resolve=resolve, is_allowed=public_or_home)),
    ):
        with pytest.raises(FetchFailed):
            await Fetcher(policy).fetch(url, most_bytes=MOST)
    await runner.cleanup()


PRIVATE = [
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1"),
    *("255.255.255.255", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "240.0.0.1"),
    *("192.88.99.1", "::", "::1", "fe80::1", "fc00::1", "fd12::1", "ff02::1", "fec0::1", "::ffff:8.8.8.8"),
    *("::ffff:127.0.0.1", "::8.8.8.8", "64:ff9b::8.8.8.8", "64:ff9b:1::1", "2002:7f00:1::", "2001:0:1::1"),
    *("2001:db8::1", "100::1", "5f00::1", "3fff::1"),
]
PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "2a00:1450:4001:80b::200e"]


@pytest.mark.parametrize("text", PRIVATE)
def test_an_address_that_is_not_everybodys_is_not_public(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_an_address_of_the_internet_is_public(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


@given(st.ip_addresses())
def test_nothing_is_public_that_the_standard_library_keeps_for_something(address: Address) -> None:
    kept = address.is_private or address.is_loopback or address.is_link_local or address.is_multicast
    assert not (kept and is_public(address))
