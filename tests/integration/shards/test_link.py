"""The link of a shard group: one leader gets to a member's RPC server, and nobody else, on no way."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from mesh.config.address import Address
from nodes.errors import ShardLinkRefused
from nodes.shards import certificate, member_link
from nodes.shards.certificate import LinkCertificate, make_certificate
from nodes.shards.leader_link import LeaderLink
from nodes.shards.link_protocol import RPC
from nodes.shards.member_link import MemberLink
from nodes.shards.rpc_binding import RPC_PORT
from nodes.shards.rpc_server import RpcServer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.root]

HELLO = bytes([14]) + (24).to_bytes(8, "little") + bytes(24)
"""How llama.cpp's RPC begins: the command, the length of what follows, and what the client can do."""
LIMIT_S = 30.0
LENT = 64 << 20
LEADER, MEMBER, STRANGER = make_certificate("leader"), make_certificate("member"), make_certificate("leader")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[RpcServer]:
    server = await RpcServer.start(threads=1, lent_bytes=LENT)
    yield server
    await server.stop()


class Door:
    """A member's open link."""

    def __init__(self, link: MemberLink, address: Address) -> None:
        self.link = link
        self.address = address

    def leader(self, own: LinkCertificate = LEADER, member: bytes = MEMBER.der) -> LeaderLink:
        return LeaderLink(self.address, own, member)


@pytest_asyncio.fixture(loop_scope="module")
async def door(server: RpcServer) -> AsyncIterator[Door]:
    link = MemberLink(server, MEMBER, LEADER.der)
    yield Door(link, await link.open(Address("127.0.0.1", 0)))
    await link.close()


async def all_that_comes(address: Address, context: ssl.SSLContext | None, says: bytes) -> bytes:
    """Call, speak, and return what is answered until the other side hangs up."""
    got = b""
    async with asyncio.timeout(LIMIT_S):
        try:
            reader, writer = await asyncio.open_connection(*address, ssl=context)
            writer.write(says)
            while piece := await reader.read(1024):
                got += piece
            writer.close()
        except OSError:
            pass
    return got


async def test_the_leader_reaches_the_server(door: Door) -> None:
    link = door.leader()
    speed = await link.open()
    assert speed.rtt_ms > 0
    assert speed.mib_per_s > 0
    listening = socket.create_server(("127.0.0.1", 0))
    address = listening.getsockname()
    link.serve(listening)
    async with asyncio.timeout(LIMIT_S):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(HELLO)
        (size,) = await reader.readexactly(1)
        assert size > 0, "the server said how long its own hello is"
        writer.close()
    await link.close()


@pytest.mark.parametrize(
    "context",
    [
        pytest.param(certificate.leader_context(STRANGER, MEMBER.der), id="another's certificate under the same name"),
        pytest.param(None, id="no TLS at all"),
    ],
)
async def test_a_stranger_gets_nothing(door: Door, context: ssl.SSLContext | None) -> None:
    got = await all_that_comes(door.address, context, RPC + HELLO)
    # Without TLS the alert of the handshake comes in clear (RFC 8446, section 6): a record of seven bytes.
    assert got[:1] in {b"", b"\x15"}
    assert len(got) <= 7


async def test_who_shows_no_certificate_gets_nothing(door: Door) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=MEMBER.der)
    assert await all_that_comes(door.address, context, RPC + HELLO) == b""


async def test_a_leader_does_not_speak_to_another_than_the_member_that_it_was_told_of(door: Door) -> None:
    with pytest.raises(ShardLinkRefused, match="CERTIFICATE_VERIFY_FAILED"):
        await door.leader(member=STRANGER.der).open()
    with pytest.raises(ShardLinkRefused, match="certificate is none"):
        door.leader(member=b"nonsense")


async def test_the_rpc_server_listens_where_only_its_own_process_is(server: RpcServer) -> None:
    assert Path(f"/proc/{server.pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()
    inside = Path(f"/proc/{server.pid}/net/tcp").read_text()
    outside = Path("/proc/self/net/tcp").read_text()
    listening = f"0100007F:{RPC_PORT:04X} 00000000:0000 0A"
    assert listening in inside
    assert listening not in outside
    devices = Path(f"/proc/{server.pid}/net/dev").read_text().splitlines()[2:]
    assert [line.split(":")[0].strip() for line in devices] == ["lo"]


async def test_a_leader_notices_that_a_member_is_gone(door: Door) -> None:
    link = door.leader()
    await link.open()
    async with asyncio.timeout(LIMIT_S):
        await door.link.close()
        assert "its link has ended" in await link.lost()
    await link.close()


async def test_a_member_notices_that_the_leader_is_gone(door: Door) -> None:
    link = door.leader()
    await link.open()
    await link.close()
    async with asyncio.timeout(LIMIT_S):
        assert "the leader has gone" in await door.link.abandoned()


async def test_a_member_does_not_wait_for_ever_for_a_leader_that_never_calls(
    server: RpcServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member_link, "_FIRST_CALL_S", 0.01)
    link = MemberLink(server, MEMBER, LEADER.der)
    async with asyncio.timeout(LIMIT_S):
        assert await link.abandoned() == "the leader never called"
    await link.close()


async def test_an_address_that_is_taken_is_refused_with_its_name(door: Door, server: RpcServer) -> None:
    link = MemberLink(server, MEMBER, LEADER.der)
    with pytest.raises(ShardLinkRefused, match=f"cannot listen on {door.address}"):
        await link.open(door.address)
    await link.close()
