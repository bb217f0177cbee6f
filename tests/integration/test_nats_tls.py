"""TLS between the broker and its clients, on a real server: who is believed, and that nothing goes in plain text."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from mesh.broker.files import BrokerOptions
from mesh.broker.server import EmbeddedServer
from mesh.bus.broker_reload import follow_certificates
from mesh.bus.dialing import LinkOptions
from mesh.bus.link import Link
from mesh.config.address import Address
from mesh.errors import BusUnavailable, BusUntrusted
from mesh.tls.contexts import ClientTls, TlsFiles
from tests.certificates import HOST, Authority
from tests.processes import until

ELSEWHERE = "mesh.example.org"
LIMIT_S = 30.0
SOON = timedelta(milliseconds=20)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("strange"))


@asynccontextmanager
async def broker(folder: Path, tls: TlsFiles | None) -> AsyncIterator[EmbeddedServer]:
    options = BrokerOptions(data_dir=folder, listen=Address(HOST, 0), durability="process", tls=tls)
    async with EmbeddedServer(options) as server:
        yield server


def options_for(server: EmbeddedServer, tls: ClientTls, *, url: str = "", patience_s: float = LIMIT_S) -> LinkOptions:
    return LinkOptions(
        servers=(url or server.url,),
        tls=tls,
        name="service:test",
        inbox_prefix="_INBOX.svc.test",
        seed_file=server.credentials.edge_service.seed_path,
        connect_timeout=timedelta(seconds=patience_s),
    )


async def echo(link: Link) -> bytes:
    listener = await link.listen("echo", lambda delivery: link.reply_to(delivery, delivery.data))
    try:
        return (await link.request("echo", b"hello")).data
    finally:
        await listener.close()


@pytest.mark.parametrize("shows", [False, True], ids=["the broker shows a certificate", "both show one"])
async def test_a_client_that_trusts_the_broker_works_over_tls(tmp_path: Path, ours: Authority, shows: bool) -> None:
    async with broker(tmp_path, ours.asking() if shows else ours.shown()) as server:
        assert server.url.startswith("tls://")
        link = await Link.connect(options_for(server, ours.client(shows=shows)))
        try:
            assert await echo(link) == b"hello"
        finally:
            await link.close()


async def test_a_client_comes_back_over_tls_when_the_broker_was_killed(tmp_path: Path, ours: Authority) -> None:
    async with broker(tmp_path, ours.shown()) as server:
        link = await Link.connect(options_for(server, ours.client()))
        back = asyncio.Event()
        link.on_return(back.set)
        try:
            assert server._process is not None
            server._process.kill()
            await asyncio.wait_for(back.wait(), LIMIT_S)
            assert await echo(link) == b"hello"
        finally:
            await link.close()


async def test_a_broker_of_a_strange_authority_is_told_nothing(
    tmp_path: Path, ours: Authority, strange: Authority
) -> None:
    async with broker(tmp_path, ours.shown()) as server:
        with pytest.raises(BusUntrusted, match="see nats_ca"):
            await Link.connect(options_for(server, strange.client()))
        with pytest.raises(BusUntrusted):
            await Link.connect(options_for(server, ClientTls()))


async def test_a_broker_of_another_name_is_trusted_only_where_that_name_is_expected(
    tmp_path: Path, ours: Authority
) -> None:
    async with broker(tmp_path, ours.shown(ELSEWHERE)) as server:
        with pytest.raises(BusUntrusted, match="IP address mismatch"):
            await Link.connect(options_for(server, ours.client()))
        link = await Link.connect(options_for(server, ours.client(name=ELSEWHERE)))
        await link.close()


async def test_a_client_without_the_certificate_that_the_broker_wants_stays_outside(
    tmp_path: Path, ours: Authority, strange: Authority
) -> None:
    async with broker(tmp_path, ours.asking()) as server:
        impostor = ClientTls(files=TlsFiles(cert=strange.shown().cert, key=strange.shown().key, ca=ours.ca))
        for tls, why in (
            (ours.client(), "client didn't provide a certificate"),
            (impostor, "certificate signed by unknown authority"),
        ):
            # Again where it did not come so far within its second.
            while why not in log_of(tmp_path):
                with pytest.raises(BusUnavailable):
                    await Link.connect(options_for(server, tls, patience_s=1.0))


async def test_a_client_in_plain_text_is_not_served(tmp_path: Path, ours: Authority) -> None:
    async with broker(tmp_path, ours.shown()) as server, asyncio.timeout(LIMIT_S):
        reader, writer = await asyncio.open_connection(*server.address)
        assert b'"tls_required":true' in await reader.readline()
        writer.write(b'CONNECT {"verbose":false}\r\nPING\r\n')
        assert await reader.read() == b""
        writer.close()


async def test_our_client_says_nothing_in_plain_text_to_a_server_without_tls(tmp_path: Path, ours: Authority) -> None:
    heard = bytearray()

    async def pretend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.15.1","headers":true,"max_payload":1048576,"nonce":"n"}\r\n')
        heard.extend(await reader.read(65_536))
        writer.close()

    async with broker(tmp_path, ours.shown()) as server:
        rogue = await asyncio.start_server(pretend, HOST, 0)
        url = f"tls://{HOST}:{rogue.sockets[0].getsockname()[1]}"
        with pytest.raises(BusUnavailable, match="no TLS came about"):
            await Link.connect(options_for(server, ours.client(), url=url, patience_s=1.0))
        rogue.close()
    assert heard[:2] == b"\x16\x03"
    assert b"CONNECT" not in heard


async def test_a_renewed_certificate_is_shown_and_breaks_no_connection(
    tmp_path: Path, ours: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    files = copy_of(ours.shown(ELSEWHERE), tmp_path)
    async with broker(tmp_path / "data", files) as server:
        link = await Link.connect(options_for(server, ours.client(name=ELSEWHERE)))
        following = asyncio.create_task(follow_certificates(server, ours.client(name=ELSEWHERE), every=SOON))
        try:
            before = await shown_by(server, ours)
            assert files.key is not None
            files.key.write_bytes(b"half of a key")
            await until(lambda: "the old ones stay in use" in caplog.text)
            assert await shown_by(server, ours) == before, "a pair that does not fit was taken over"
            copy_of(ours.shown(HOST), tmp_path)
            await until(lambda: "new certificate files are in use" in caplog.text)
            assert await shown_by(server, ours) != before
            assert link.is_connected
            assert await echo(link) == b"hello"
        finally:
            following.cancel()
            await link.close()


def copy_of(files: TlsFiles, folder: Path) -> TlsFiles:
    copied = TlsFiles(cert=folder / "shown.pem", key=folder / "shown-key.pem")
    for source, target in ((files.key, copied.key), (files.cert, copied.cert)):
        assert source is not None
        assert target is not None
        target.write_bytes(source.read_bytes())
    return copied


async def shown_by(server: EmbeddedServer, ours: Authority) -> bytes:
    """The certificate that the broker shows now."""
    context = ssl.create_default_context(cafile=ours.ca)
    context.check_hostname = False
    _, writer = await asyncio.open_connection(*server.address, ssl=context)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return shown


def log_of(folder: Path) -> str:
    return (folder / "logs" / "nats-server.log").read_text()
