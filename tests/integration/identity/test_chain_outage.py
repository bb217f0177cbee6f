"""Devices with a DID on the chain while the chain is out: over restarts, by several services, and with an event."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from msgspec.structs import replace

from mesh.broker.server import EmbeddedServer
from mesh.bus.service_bus import Bus
from mesh.errors import PublishUnknown
from mesh.history.stream_facts import last_message, message_range
from mesh.identity.accounts import substrate_account
from mesh.identity.device_log import DeviceLog
from mesh.identity.device_login import DeviceLogin
from mesh.identity.did import did_peaq
from mesh.identity.keys import SigningKey
from mesh.identity.peaq.place import place_of
from mesh.identity.peaq.resolver import did_resolver
from mesh.identity.settings import IdentitySettings
from streams import subjects
from streams.codec import decode, decode_device_event, encode
from streams.devices.fold import Devices
from streams.events import DeviceUnconfirmed
from streams.messages import ChainReading
from streams.tokens import Token
from streams.topology import CHAIN, DEVICES
from tests.identity_in_process import identity_service
from tests.integration.identity.showing import NODE, Shown, gets_in
from tests.peaq_chain import PeaqChain
from tests.peaq_metadata import small_runtime

KEY = SigningKey.generate("sr25519")
DID = did_peaq(substrate_account(KEY.public))
LOGIN = DeviceLogin(DID, KEY, NODE)
READING = subjects.chain_reading(DID.fingerprint)


@pytest.fixture
def chain() -> Iterator[PeaqChain]:
    with PeaqChain(small_runtime()) as running:
        place = place_of(DID)
        running.put(place.account, place.names[0], b"")
        yield running


@asynccontextmanager
async def service(server: EmbeddedServer, chain: PeaqChain) -> AsyncIterator[None]:
    """One more identity service, which knows nothing but what it reads. Nothing that it has read serves as fresh."""
    settings = IdentitySettings(
        did_methods=("peaq",),
        peaq_endpoints=(chain.url,),
        peaq_genesis=chain.genesis,
        did_cache=timedelta(),
    )
    async with did_resolver(settings) as resolver, identity_service(server, resolver=resolver):
        yield


async def unconfirmed(bus: Bus) -> list[DeviceUnconfirmed]:
    events = [decode_device_event(event.data) for event in await message_range(bus.core, DEVICES, 1, 500)]
    return [event for event in events if isinstance(event, DeviceUnconfirmed)]


async def kept(bus: Bus) -> ChainReading:
    found = await last_message(bus.core, CHAIN, READING)
    assert found is not None
    return decode(found.data, ChainReading)


async def test_who_was_known_before_a_restart_gets_in_during_an_outage_and_the_log_says_by_what(
    server: EmbeddedServer, bus: Bus, chain: PeaqChain, now: Callable[[], Awaitable[Devices]]
) -> None:
    stranger = SigningKey.generate("sr25519")
    other = DeviceLogin(did_peaq(substrate_account(stranger.public)), stranger, Token("n2"))
    async with service(server, chain):
        assert await gets_in(server, LOGIN)
    reading = await kept(bus)
    assert await unconfirmed(bus) == []
    chain.stop()
    for _ in range(2):
        async with service(server, chain):
            assert await gets_in(server, LOGIN)
            assert await gets_in(server, LOGIN)
            assert not await gets_in(server, other, Token("n2"))
            assert not await gets_in(server, Shown(login=LOGIN, nonce_as=lambda nonce: nonce[::-1]))
    (event,) = await unconfirmed(bus)
    assert (event.node, event.did, event.read_at_ms) == (NODE, DID.text, reading.read_at_ms)
    assert "no endpoint of the chain can be used" in event.reason
    assert await kept(bus) == reading
    device = (await now()).device(NODE)
    assert device is not None
    assert device.stale_read_at_ms == reading.read_at_ms


async def test_what_is_remembered_counts_only_if_it_is_a_reading_of_that_did_that_is_not_too_old(
    server: EmbeddedServer, bus: Bus, chain: PeaqChain
) -> None:
    async with service(server, chain):
        assert await gets_in(server, LOGIN)
    good = await kept(bus)
    assert good.entry is not None
    wrong = (
        b"noise",
        encode(replace(good, did="did:peaq:0x00a329c0648769A73afAc7F9381E08FB43dBEA72")),
        encode(replace(good, entry=replace(good.entry, value_base64="%"))),
        encode(replace(good, read_at_ms=good.read_at_ms - 3_600_000)),
    )
    chain.stop()
    async with service(server, chain):
        for body in wrong:
            await bus.core.append(READING, body)
            assert not await gets_in(server, LOGIN), body
        await bus.core.append(READING, encode(replace(good, read_at_ms=good.read_at_ms + 1)))
        assert await gets_in(server, LOGIN)
        # Another service has seen that nothing stands there any more.
        await bus.core.append(READING, encode(replace(good, read_at_ms=good.read_at_ms + 2, entry=None)))
        assert not await gets_in(server, LOGIN)


async def test_where_it_cannot_be_noted_nobody_gets_in_by_an_old_reading(
    server: EmbeddedServer, bus: Bus, chain: PeaqChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cannot_write(*_: object, **__: object) -> None:
        raise PublishUnknown("no acknowledgement")

    async with service(server, chain):
        assert await gets_in(server, LOGIN)
        chain.stop()
        with monkeypatch.context() as patched:
            patched.setattr(DeviceLog, "unconfirmed", cannot_write)
            assert not await gets_in(server, LOGIN)
        assert await gets_in(server, LOGIN)
