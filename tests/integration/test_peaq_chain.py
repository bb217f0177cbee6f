"""Nodes of the chain that fail, lie or lag, and who gets in meanwhile: a stand-in for a node, the library as it is."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import timedelta
from types import SimpleNamespace

import msgspec
import pytest

from mesh.errors import ChainUnavailable, NotProven, RegistrationRefused, ResolverUnavailable
from mesh.identity.accounts import substrate_account
from mesh.identity.did import Did, did_key, did_peaq
from mesh.identity.keys import Algorithm, SigningKey
from mesh.identity.peaq import connection
from mesh.identity.peaq.chain import ChainReader
from mesh.identity.peaq.connection import shown_endpoint
from mesh.identity.peaq.options import ChainOptions
from mesh.identity.peaq.place import Place, place_of
from mesh.identity.peaq.registration import write_document
from mesh.identity.peaq.resolver import did_resolver
from mesh.identity.settings import IdentitySettings
from mesh.identity.subject_proof import Proof, prove
from tests.peaq_chain import PeaqChain
from tests.peaq_documents import document, on_chain, sign
from tests.peaq_metadata import small_runtime
from tests.processes import PATIENCE_S

CHALLENGE = b"challenge"
SR, ED = "Sr25519VerificationKey2020", "Ed25519VerificationKey2020"


@pytest.fixture
def small() -> Iterator[PeaqChain]:
    with PeaqChain(small_runtime()) as running:
        yield running


@pytest.fixture
async def reader(small: PeaqChain) -> AsyncIterator[ChainReader]:
    made = ChainReader(options(small), pause_s=0)
    yield made
    await made.close()


def options(*chains: PeaqChain, timeout_s: float = 30, genesis: str = "") -> ChainOptions:
    urls = tuple(chain.url for chain in chains)
    return ChainOptions(endpoints=urls, genesis=genesis or chains[0].genesis, max_head_age_s=300, timeout_s=timeout_s)


def somebody(algorithm: Algorithm = "sr25519") -> tuple[SigningKey, Did, Place]:
    key = SigningKey.generate(algorithm)
    did = did_peaq(substrate_account(key.public))
    return key, did, place_of(did)


def dead_url() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"ws://127.0.0.1:{found.getsockname()[1]}"


def test_an_extrinsic_that_the_node_refuses_is_told(small: PeaqChain) -> None:
    key, _, place = somebody()
    small.runtime = small.runtime._replace(version=small.runtime.version | {"transactionVersion": 99})
    small.faulty = lambda method, result: (
        small.runtime.version | {"transactionVersion": 3} if method == "state_getRuntimeVersion" else result
    )
    with pytest.raises(ChainUnavailable, match="bad signature"):
        write_document(options(small), place, b"0a0131", payer=key)


async def test_readings_share_one_connection_and_one_look_at_the_head(
    small: PeaqChain, reader: ChainReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_HEAD_REUSE_S", PATIENCE_S)
    for _ in range(20):
        await reader.read(somebody()[2])
    assert small.calls.count("state_getMetadata") == 1
    assert small.calls.count("chain_getFinalizedHead") == 1
    assert small.calls.count("state_getStorage") >= 20


async def test_a_connection_that_was_cut_is_made_again(small: PeaqChain, reader: ChainReader) -> None:
    _, _, place = somebody()
    await reader.read(place)
    small.stop()
    small.start()
    assert (await reader.read(place)).entry is None
    assert small.calls.count("state_getMetadata") == 1, "what was learned of the chain's types is kept"


@pytest.mark.parametrize("when", ["state_getMetadata", "state_getRuntimeVersion", "state_getStorage"])
async def test_a_connection_that_is_lost_halfway_leaves_nothing_half_done(
    small: PeaqChain, reader: ChainReader, when: str
) -> None:
    """The library notes a runtime's version before it has its types, and would never ask for them again."""
    _, _, place = somebody()
    small.put(place.account, place.names[0], b"value")
    small.cuts = when
    with pytest.raises(ChainUnavailable):
        await reader.read(place)
    small.cuts = ""
    entry = (await reader.read(place)).entry
    assert entry is not None
    assert entry.value == b"value"


async def test_types_of_a_new_runtime_are_asked_for_until_they_are_there(
    small: PeaqChain, reader: ChainReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_HEAD_REUSE_S", 0)
    _, _, place = somebody()
    await reader.read(place)
    small.upgrade()
    small.cuts = "state_getMetadata"
    with pytest.raises(ChainUnavailable):
        await reader.read(place)
    small.cuts, asked = "", len(small.calls)
    await reader.read(place)
    assert "state_getMetadata" in small.calls[asked:]


async def test_another_endpoint_serves_when_one_is_gone_and_goes_on_serving(small: PeaqChain) -> None:
    _, _, place = somebody()
    with PeaqChain(small.runtime) as second:
        second.put(place.account, place.names[0], b"second")
        told = ChainOptions(
            endpoints=(dead_url(), small.url, second.url), genesis=small.genesis, max_head_age_s=300, timeout_s=30
        )
        reader = ChainReader(told)
        assert (await reader.read(place)).entry is None
        small.stop()
        entry = (await reader.read(place)).entry
        assert entry is not None
        assert entry.value == b"second"
        small.start()
        assert (await reader.read(place)).entry is not None
        await reader.close()


async def refused_for(told: ChainOptions) -> str:
    reader = ChainReader(told)
    try:
        with pytest.raises(ChainUnavailable) as refused:
            await reader.read(somebody()[2])
    finally:
        await reader.close()
    return str(refused.value)


async def test_an_endpoint_of_another_chain_is_refused(small: PeaqChain) -> None:
    with PeaqChain(small.runtime, name="theirs") as other:
        told = options(other, genesis=small.genesis)
        assert f"its first block is {other.genesis}" in await refused_for(told)
        both = ChainOptions(endpoints=(other.url, small.url), genesis=small.genesis, max_head_age_s=300, timeout_s=30)
        reader = ChainReader(both)
        assert (await reader.read(somebody()[2])).entry is None
        await reader.close()
        assert "state_getStorage" not in other.calls


@pytest.mark.parametrize(("shift_s", "why"), [(-301, "behind"), (400, "ahead of")])
async def test_an_endpoint_that_is_far_behind_or_ahead_is_refused(small: PeaqChain, shift_s: float, why: str) -> None:
    small.set_time(time.time() + shift_s)
    assert f"{why} our clock, more than 5m" in await refused_for(options(small))


async def test_an_endpoint_that_falls_behind_while_it_is_used_is_refused(
    small: PeaqChain, reader: ChainReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its head is not asked for at every reading, but its age is looked at."""
    monkeypatch.setattr(connection, "_HEAD_REUSE_S", PATIENCE_S)
    _, _, place = somebody()
    assert (await reader.read(place)).entry is None
    later_s = time.time() + 301
    monkeypatch.setattr(connection, "time", SimpleNamespace(time=lambda: later_s, monotonic=time.monotonic))
    with pytest.raises(ChainUnavailable, match="behind our clock"):
        await reader.read(place)


async def test_a_silent_endpoint_is_given_up_after_its_time(small: PeaqChain) -> None:
    with PeaqChain(small.runtime) as second:
        small.silent = True
        reader = ChainReader(options(small, second, timeout_s=1), pause_s=0)
        while True:
            # The other one has so long too: where it takes longer, as one that stands still does, it is asked again.
            with suppress(ChainUnavailable):
                assert (await reader.read(somebody()[2])).entry is None
                break
        assert "chain_getBlockHash" in small.calls
        await reader.close()


async def test_an_endpoint_that_talks_without_answering_is_given_up_too(small: PeaqChain) -> None:
    small.chatters = True
    assert "does not answer as a node does" in await refused_for(options(small, timeout_s=0.5))


@pytest.mark.parametrize(
    "answer", [None, 5, "0x", "no hex", [], {}, "0x" + "ff" * 200], ids=lambda value: str(value)[:8] or "empty"
)
async def test_answers_that_are_no_nodes_are_refused(small: PeaqChain, answer: object) -> None:
    small.faulty = lambda method, result: answer if method in {"chain_getFinalizedHead", "chain_getHeader"} else result
    assert "no endpoint of the chain can be used" in await refused_for(options(small))


async def test_after_an_outage_nobody_waits_for_every_attempt(small: PeaqChain) -> None:
    small.cuts = "chain_getBlockHash"
    slow = ChainReader(options(small), pause_s=PATIENCE_S)
    with pytest.raises(ChainUnavailable):
        await slow.read(somebody()[2])
    assert small.cuts in small.calls
    asked = len(small.calls)
    with pytest.raises(ChainUnavailable):
        await slow.read(somebody()[2])
    assert len(small.calls) == asked
    await slow.close()


def test_keys_of_providers_are_not_shown() -> None:
    assert shown_endpoint("wss://user:secret@node.example:443/secret?key=secret") == "wss://node.example:443"


async def test_no_key_of_a_provider_is_in_an_error(small: PeaqChain) -> None:
    told = ChainOptions(endpoints=(f"{dead_url()}/secret-key",), genesis=small.genesis, max_head_age_s=300, timeout_s=5)
    assert "secret-key" not in await refused_for(told)


def settings(chain: PeaqChain, did_cache: timedelta = timedelta(minutes=5)) -> IdentitySettings:
    return IdentitySettings(
        did_methods=("peaq",),
        peaq_endpoints=(chain.url,),
        peaq_genesis=chain.genesis,
        peaq_timeout=timedelta(seconds=20),
        did_cache=did_cache,
    )


async def test_who_registered_gets_in_by_its_own_key_and_by_one_of_its_document(small: PeaqChain) -> None:
    key, did, place = somebody()
    device = SigningKey.generate("ed25519")
    made = document(did, ("#device", ED, f"z{substrate_account(device.public)}"))
    value = on_chain(sign(made, did, key, kind=SR))
    await asyncio.to_thread(write_document, options(small), place, value, payer=key)
    by_device = prove(did_key(device.public), device, CHALLENGE)
    async with did_resolver(settings(small)) as resolver:
        assert (await resolver.authenticate(did, prove(did, key, CHALLENGE), CHALLENGE)).how == "subject"
        found = await resolver.authenticate(did, by_device, CHALLENGE)
        assert (found.how, found.key_id) == ("document", "#device")
        with pytest.raises(NotProven) as refused:
            await resolver.authenticate(did, by_device, b"another challenge")
    assert refused.value.rule == "not_signed_by_document_key"


async def test_who_squats_an_attribute_gets_nothing_and_locks_nobody_out(small: PeaqChain) -> None:
    key, did, place = somebody()
    stranger = SigningKey.generate("ed25519")
    made = document(did, ("#mine", ED, stranger.public.raw.hex()))
    forged = on_chain(sign(made, did_key(stranger.public), stranger, kind=ED))
    await asyncio.to_thread(write_document, options(small), place, forged, payer=stranger)
    async with did_resolver(settings(small)) as resolver:
        with pytest.raises(NotProven) as refused:
            await resolver.authenticate(did, prove(did_key(stranger.public), stranger, CHALLENGE), CHALLENGE)
        assert refused.value.rule == "document_signer_unknown"
        assert (await resolver.authenticate(did, prove(did, key, CHALLENGE), CHALLENGE)).how == "subject"
    with pytest.raises(RegistrationRefused):
        await asyncio.to_thread(write_document, options(small), place, b"0a0131", payer=key)


async def test_an_entry_that_ran_out_is_refused_though_the_chain_still_has_it(small: PeaqChain) -> None:
    key, did, place = somebody()
    small.put(place.account, place.names[0], b"", validity=small.head - 1)
    async with did_resolver(settings(small)) as resolver:
        with pytest.raises(NotProven) as refused:
            await resolver.authenticate(did, prove(did, key, CHALLENGE), CHALLENGE)
    assert refused.value.rule == "entry_expired"


async def test_an_outage_shuts_out_the_unknown_and_keeps_the_known(small: PeaqChain) -> None:
    known, unknown = somebody(), somebody()
    for _, _, place in (known, unknown):
        small.put(place.account, place.names[0], b"")
    async with did_resolver(settings(small, did_cache=timedelta())) as resolver:
        await resolver.authenticate(known[1], prove(known[1], known[0], CHALLENGE), CHALLENGE)
        small.stop()
        found = await resolver.authenticate(known[1], prove(known[1], known[0], CHALLENGE), CHALLENGE)
        assert found.is_stale
        with pytest.raises(ResolverUnavailable):
            await resolver.authenticate(unknown[1], prove(unknown[1], unknown[0], CHALLENGE), CHALLENGE)
        with pytest.raises(NotProven):
            await resolver.authenticate(known[1], Proof(algorithm="sr25519", signature=bytes(64)), CHALLENGE)


async def test_the_resolver_of_a_process_connects_before_anybody_asks(
    small: PeaqChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_HEAD_REUSE_S", PATIENCE_S)
    _, did, place = somebody()
    async with did_resolver(settings(small)) as resolver:
        await resolver.look_up(did)
        assert small.calls.count("chain_getFinalizedHead") == 1
        assert small.calls.count("state_getStorage") > len(place.names) + 1


async def test_a_resolver_that_is_left_in_the_middle_of_an_outage_ends_at_once(small: PeaqChain) -> None:
    small.silent = True
    _, did, _ = somebody()
    begun_s = time.monotonic()
    patient = msgspec.structs.replace(settings(small), peaq_timeout=timedelta(minutes=5))
    async with did_resolver(patient) as resolver:
        asking = asyncio.create_task(resolver.look_up(did))
        await asyncio.sleep(0)
    assert time.monotonic() - begun_s < PATIENCE_S
    with pytest.raises(ResolverUnavailable, match="closed"):
        await asking
