"""HTTP over TLS: pages, streams and the websocket, and a certificate that is renewed while the gateway runs."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import ClientConnectorCertificateError, ClientError, ClientSession, TCPConnector

from gateway.http import server as http_server
from gateway.settings import GatewaySettings
from mesh.errors import TlsError
from mesh.processes.readyz import wait_until_ready
from mesh.tls.contexts import TlsFiles, client_context
from tests.certificates import Authority
from tests.http_gateway import LIMIT_S, HttpGateway, chat, read_sse, serve_http, text_of
from tests.mesh_in_process import InProcessMesh
from tests.processes import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("patient_answers")]

NOTHING = TlsFiles()


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ours"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[InProcessMesh]:
    async with InProcessMesh(folder=tmp_path_factory.mktemp("mesh") / "data") as running:
        yield running


@asynccontextmanager
async def serve(mesh: InProcessMesh, ours: Authority) -> AsyncIterator[HttpGateway]:
    files = ours.shown()
    async with serve_http(mesh.bus, http_tls_cert=files.cert, http_tls_key=files.key) as gateway:
        yield gateway


@asynccontextmanager
async def trusting(ours: Authority, shown: TlsFiles = NOTHING) -> AsyncIterator[ClientSession]:
    files = TlsFiles(cert=shown.cert, key=shown.key, ca=ours.ca)
    connector = TCPConnector(ssl=client_context(files))
    async with ClientSession(connector=connector) as session:
        yield session


async def test_an_answer_streams_over_tls_and_says_to_come_back_by_tls_only(
    mesh: InProcessMesh, ours: Authority
) -> None:
    async with serve(mesh, ours) as gateway, trusting(ours) as session:
        assert gateway.url.startswith("https://")
        await mesh.add_dispatcher()
        await mesh.add_node()
        await gateway.until_served()
        async with session.post(f"{gateway.url}/v1/chat/completions", json=chat(stream=True)) as response:
            assert response.headers["Strict-Transport-Security"] == "max-age=31536000"
            assert text_of(await read_sse(response))
        async with session.ws_connect(f"{gateway.url}/ws", headers={"Origin": gateway.url}) as ws:
            assert (await ws.receive(timeout=LIMIT_S)).data
        async with asyncio.timeout(LIMIT_S):
            await wait_until_ready(gateway.url)


async def test_a_stranger_to_the_authority_does_not_believe_the_gateway(mesh: InProcessMesh, ours: Authority) -> None:
    async with serve(mesh, ours) as gateway:
        with pytest.raises(ClientConnectorCertificateError):
            await gateway.get("/healthz")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1")
async def test_neither_plain_text_nor_old_tls_is_served(mesh: InProcessMesh, ours: Authority) -> None:
    async with serve(mesh, ours) as gateway:
        reader, writer = await asyncio.open_connection(*gateway.server.address)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert b"HTTP" not in await reader.read()
        writer.close()
        context = ssl.create_default_context(cafile=ours.ca)
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        # As an SSLError, or as a connection that is reset: either way no word of HTTP comes through.
        with pytest.raises(OSError, match=r"(?i)ssl|reset|^$"):
            await asyncio.open_connection(*gateway.server.address, ssl=context)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        _, writer = await asyncio.open_connection(*gateway.server.address, ssl=context)
        writer.close()


async def test_a_renewed_certificate_is_shown_without_a_restart(
    mesh: InProcessMesh,
    ours: Authority,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(http_server, "LOOK_EVERY", timedelta(milliseconds=20))
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def put(name: str) -> None:
        files = ours.shown(name)
        assert files.cert is not None
        assert files.key is not None
        key.write_bytes(files.key.read_bytes())
        cert.write_bytes(files.cert.read_bytes())

    put("mesh.example.org")
    async with serve_http(mesh.bus, http_tls_cert=cert, http_tls_key=key) as gateway, trusting(ours) as session:
        with pytest.raises(ClientConnectorCertificateError):
            await session.get(f"{gateway.url}/healthz")
        key.write_text("half of a key")
        await until(lambda: "the old ones stay in use" in caplog.text)
        put("127.0.0.1")
        await until(lambda: "new certificate files are in use" in caplog.text)
        async with session.get(f"{gateway.url}/healthz") as response:
            assert response.status == 200


async def test_a_gateway_with_a_key_of_another_certificate_does_not_start(mesh: InProcessMesh, ours: Authority) -> None:
    mine, other = ours.shown(), ours.shown("mesh.example.org")
    with pytest.raises(TlsError, match="the key is not that of the certificate"):
        async with serve_http(mesh.bus, http_tls_cert=mine.cert, http_tls_key=other.key):
            pass


async def test_where_an_authority_is_given_clients_show_a_certificate_of_it_or_are_told_nothing(
    mesh: InProcessMesh, ours: Authority, tmp_path: Path
) -> None:
    mine, strange = ours.asking(), Authority(tmp_path / "strange").shown()
    asking = serve_http(mesh.bus, http_tls_cert=mine.cert, http_tls_key=mine.key, http_tls_ca=mine.ca)
    async with asking as gateway, asyncio.timeout(LIMIT_S):
        url = f"{gateway.url}/healthz"
        async with trusting(ours, ours.shown("client")) as session, session.get(url) as response:
            assert response.status == 200
        for shown in (NOTHING, strange):
            async with trusting(ours, shown) as session:
                with pytest.raises(ClientError):
                    await session.get(url)


async def test_half_of_what_tls_needs_is_refused() -> None:
    with pytest.raises(ValueError, match="needed together"):
        GatewaySettings(http_tls_cert=Path("cert.pem"))
    with pytest.raises(ValueError, match="give http_tls_cert"):
        GatewaySettings(http_tls_ca=Path("ca.pem"))
