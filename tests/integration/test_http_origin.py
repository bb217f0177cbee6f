"""A foreign page in a browser must not reach a mesh on loopback: by no name, from no origin, by no websocket."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from tests.http_gateway import HttpGateway, chat, serve_http
from tests.mesh_in_process import InProcessMesh

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("patient_answers")]

FRIEND = "https://chat.example.org"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[InProcessMesh]:
    async with InProcessMesh(folder=tmp_path_factory.mktemp("mesh") / "data") as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gateway(mesh: InProcessMesh) -> AsyncIterator[HttpGateway]:
    async with serve_http(mesh.bus, http_hosts=("mesh.example.org",), http_origins=(FRIEND,)) as serving:
        yield serving


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8080",
        "localhost.:1",
        "127.0.0.1:8080",
        "[::1]:8080",
        "192.168.1.7:8080",
        "mesh.example.org",
        "Mesh.Example.org:443",
    ],
)
async def test_our_own_names_are_answered(gateway: HttpGateway, host: str) -> None:
    assert (await gateway.get("/v1/models", Host=host)).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example.com",
        "evil.example.com:8080",
        "localhost.evil.example.com",
        "127.0.0.1.evil.example.com",
        "xmesh.example.org",
        "user@localhost@evil.example.com",
        "[not-an-address",
        "evil.example.com#localhost",
    ],
)
@pytest.mark.parametrize("path", ["/", "/v1/models", "/ws", "/healthz", "/nothing"])
async def test_a_name_that_is_not_ours_is_refused(gateway: HttpGateway, host: str, path: str) -> None:
    response = await gateway.get(path, Host=host)
    assert response.status in (400, 421)
    assert (await response.json())["error"]["code"] in ("invalid_host", "foreign_host")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example.com",
        "http://localhost:1",
        "http://127.0.0.1",
        "null",
        "",
        "https://chat.example.org.evil.com",
        "file://",
        "chrome-extension://abc",
    ],
)
async def test_a_foreign_origin_is_refused_with_every_method(gateway: HttpGateway, method: str, origin: str) -> None:
    url = f"{gateway.url}/v1/chat/completions"
    async with gateway.session.request(method, url, json=chat(), headers={"Origin": origin}) as response:
        assert response.status == 403
        assert "Access-Control-Allow-Origin" not in response.headers


async def test_our_own_page_is_served(gateway: HttpGateway) -> None:
    assert (await gateway.get("/v1/models", Origin=gateway.url, Sec_Fetch_Site="same-origin")).status == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_what_a_foreign_page_embeds_without_an_origin_is_refused(gateway: HttpGateway, site: str) -> None:
    response = await gateway.get("/v1/models", Sec_Fetch_Site=site, Sec_Fetch_Mode="no-cors")
    assert response.status == 403


async def test_a_link_to_the_page_may_be_followed(gateway: HttpGateway) -> None:
    response = await gateway.get("/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")
    assert response.status == 200
    assert response.headers["X-Frame-Options"] == "DENY"


async def test_the_websocket_is_behind_the_same_door(gateway: HttpGateway) -> None:
    for headers in ({"Origin": "https://evil.example.com"}, {"Host": "evil.example.com"}, {"Origin": "null"}):
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await gateway.session.ws_connect(f"{gateway.url}/ws", headers=headers)
        assert caught.value.status in (403, 421)
    async with gateway.session.ws_connect(f"{gateway.url}/ws", headers={"Origin": gateway.url}) as ws:
        assert ws._response.headers["x-request-id"].startswith("req_")


async def test_a_friendly_origin_may_ask_and_read(gateway: HttpGateway) -> None:
    response = await gateway.get("/v1/models", Origin=FRIEND, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="cors")
    assert response.status == 200
    assert response.headers["Access-Control-Allow-Origin"] == FRIEND
    assert response.headers["Vary"] == "Origin"
    assert "x-ig3-task" in response.headers["Access-Control-Expose-Headers"]


async def test_a_friendly_origin_may_read_errors_too(gateway: HttpGateway) -> None:
    response = await gateway.get("/nothing", Origin=FRIEND)
    assert (response.status, response.headers["Access-Control-Allow-Origin"]) == (404, FRIEND)


async def test_a_preflight_is_answered_for_friends_only(gateway: HttpGateway) -> None:
    headers = {"Origin": FRIEND, "Access-Control-Request-Method": "POST"}
    async with gateway.session.options(f"{gateway.url}/v1/chat/completions", headers=headers) as response:
        assert (response.status, response.headers["Access-Control-Allow-Origin"]) == (204, FRIEND)
        assert "content-type" in response.headers["Access-Control-Allow-Headers"]


async def test_without_a_list_nobody_is_a_friend(mesh: InProcessMesh) -> None:
    async with serve_http(mesh.bus) as closed:
        response = await closed.get("/v1/models", Origin=FRIEND)
        assert response.status == 403
        assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize("path", ["/", "/page/main.js", "/healthz", "/v1/models", "/nothing", "/v1/tasks/nonsense"])
async def test_every_answer_tells_browsers_to_be_careful(gateway: HttpGateway, path: str) -> None:
    headers = (await gateway.get(path)).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Frame-Options"] == "DENY"
    # Told over plain HTTP it would mean nothing, and over TLS of somebody else's making it would lock the name.
    assert "Strict-Transport-Security" not in headers


async def test_an_answer_to_what_is_not_http_is_careful_too(gateway: HttpGateway) -> None:
    reader, writer = await asyncio.open_connection(*gateway.server.address)
    writer.write(b"nonsense\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.")
    assert b"frame-ancestors 'none'" in answer
