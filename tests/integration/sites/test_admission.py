"""Who may link a broker to a hub: sites that prove their keys, and nobody else, whatever they show at the door."""

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from mesh.broker.cluster import free_ports
from mesh.broker.files import BrokerOptions
from mesh.broker.leaf import Hub
from mesh.broker.nkey import new_seed, public_key_of, secret_of
from mesh.broker.server import EmbeddedServer
from mesh.bus.dialing import LinkOptions
from mesh.bus.link import Link
from mesh.bus.provision import provision
from mesh.bus.service_bus import Bus, BusOptions
from mesh.config.address import Address
from mesh.errors import BusRefused
from mesh.sites.records import Join, add_site, join_hub, remove_site
from streams.topology import stream_specs
from tests.identity_in_process import device_login, identity_service
from tests.integration.sites.linked import LOOPBACK
from tests.processes import PATIENCE_S


@dataclass(kw_only=True)
class HubOfOne:
    """A hub that runs, and what its site has."""

    server: EmbeddedServer
    door: Address
    join: Join


@asynccontextmanager
async def hub_of_one(folder: Path) -> AsyncIterator[HubOfOne]:
    """A hub with an identity service that lets every device in, and one site."""
    (port,) = free_ports(LOOPBACK, 1)
    door = Address(LOOPBACK, port)
    options = BrokerOptions(data_dir=folder, listen=Address(LOOPBACK, 0), durability="process", hub=Hub(listen=door))
    add_site(folder, "berlin", results_streams=4, join_file=folder / "berlin.join")
    async with EmbeddedServer(options) as server:
        credentials = server.credentials
        service = BusOptions(
            servers=(server.url,),
            name="test",
            edge_seed=credentials.edge_service.seed_path,
            core_seed=credentials.core_service.seed_path,
        )
        async with await Bus.connect(service) as bus:
            await provision(bus.links, stream_specs(), ())
        async with identity_service(server):
            yield HubOfOne(server=server, door=door, join=join_hub(folder / "site", folder / "berlin.join"))


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[HubOfOne]:
    async with hub_of_one(tmp_path) as running:
        yield running


def signed(seed: str, nonce: str) -> dict[str, str]:
    """What nats-server shows of a key, when it links."""
    signature = SigningKey(secret_of(seed)).sign(nonce.encode()).signature
    return {"nkey": public_key_of(seed), "sig": base64.urlsafe_b64encode(signature).decode().rstrip("=")}


async def answer(door: Address, show: Callable[[str], dict[str, str]]) -> str:
    """Link by hand, showing what is made of the hub's nonce; returns what the hub says: a PONG to whom it lets in."""
    reader, writer = await asyncio.open_connection(door.host, door.port)
    try:
        async with asyncio.timeout(PATIENCE_S):
            info = json.loads((await reader.readline()).partition(b" ")[2])
            shown = {"server_id": "N", "server_name": "x", "protocol": 1, "headers": True, **show(info["nonce"])}
            writer.write(b"CONNECT " + json.dumps(shown).encode() + b"\r\nPING\r\n")
            said = b""
            while b"PONG" not in said and (line := await reader.readline()):
                said += line
    finally:
        writer.close()
    return said.decode()


async def test_a_site_that_proves_its_key_may_link(hub: HubOfOne) -> None:
    for seed in (hub.join.edge_seed, hub.join.core_seed):
        assert "PONG" in await answer(hub.door, lambda nonce, seed=seed: signed(seed, nonce))


async def test_nobody_else_may_and_the_operator_is_told_why(hub: HubOfOne, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mesh.identity.callout")
    own, other = hub.join.edge_seed, new_seed()
    device = device_login("n1")
    tries: tuple[tuple[Callable[[str], dict[str, str]], str], ...] = (
        (lambda nonce: signed(other, nonce), "key of no site here"),
        (lambda nonce: signed(own, nonce[::-1]), "did not sign with it"),
        (lambda nonce: signed(other, nonce) | {"nkey": public_key_of(own)}, "did not sign with it"),
        (lambda _: {"nkey": public_key_of(own), "sig": "%%%"}, "did not sign with it"),
        (lambda _: {"nkey": public_key_of(own)}, ""),
        (lambda _: {}, "key of no site here"),
        # What lets a device in as a client.
        (
            lambda nonce: {"auth_token": device.token("h:1"), "sig": device.sign("h:1", nonce).decode()},
            "key of no site here",
        ),
    )
    for show, why in tries:
        caplog.clear()
        said = await answer(hub.door, show)
        assert "Authorization Violation" in said
        assert "PONG" not in said
        assert why in caplog.text


async def test_the_key_of_a_site_is_no_login_of_a_client(hub: HubOfOne, tmp_path: Path) -> None:
    seed = tmp_path / "link.nk"
    seed.write_text(hub.join.edge_seed)
    with pytest.raises(BusRefused):
        await Link.connect(LinkOptions(servers=(hub.server.url,), name="x", inbox_prefix="_INBOX.x", seed_file=seed))


async def test_a_site_that_is_removed_may_link_no_longer_and_one_that_is_added_may_at_once(
    hub: HubOfOne, tmp_path: Path
) -> None:
    remove_site(tmp_path, "berlin")
    assert "Authorization Violation" in await answer(hub.door, lambda nonce: signed(hub.join.edge_seed, nonce))
    add_site(tmp_path, "rome", results_streams=4, join_file=tmp_path / "rome.join")
    rome = join_hub(tmp_path / "rome", tmp_path / "rome.join")
    assert "PONG" in await answer(hub.door, lambda nonce: signed(rome.edge_seed, nonce))
