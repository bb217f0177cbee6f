"""What is kept of the chain, and what is made of it when the chain cannot be asked."""

import asyncio
import time
from collections.abc import Callable

import pytest

from mesh.errors import ChainUnavailable, InvalidDid, NotProven, ResolverUnavailable
from mesh.identity.accounts import evm_account, substrate_account
from mesh.identity.did import Did, did_key, did_peaq, did_pkh
from mesh.identity.keys import SigningKey
from mesh.identity.peaq import readings as kept_readings
from mesh.identity.peaq.connection import Reading
from mesh.identity.peaq.options import DEFAULT_ATTRIBUTE, CacheOptions
from mesh.identity.peaq.place import Place, place_of
from mesh.identity.peaq.readings import FLIGHTS_MOST, KNOWN_MOST, OTHERS_MOST, Readings
from mesh.identity.peaq.resolver import DidResolver
from mesh.identity.peaq.rules import ResolverOptions, Trust
from mesh.identity.subject_proof import Proof, prove
from tests.peaq_documents import document, on_chain, sign
from tests.unit.peaq_source import Chain

CHALLENGE = b"challenge"
KEY = SigningKey.generate("sr25519")
DID = did_peaq(substrate_account(KEY.public))
DEVICE = SigningKey.generate("ed25519")
OPTIONS = CacheOptions(found_s=300, missing_s=30, stale_s=3600, wait_s=5)


@pytest.fixture
def chain() -> Chain:
    return Chain()


@pytest.fixture
def readings(chain: Chain) -> Readings:
    return Readings(chain, OPTIONS, clock=lambda: chain.now_s)


@pytest.fixture
def resolver(readings: Readings) -> DidResolver:
    return made(readings)


def made(readings: Readings | None, **more: object) -> DidResolver:
    options = {"methods": ("key", "pkh", "peaq"), "attribute": DEFAULT_ATTRIBUTE, "trust": Trust()} | more
    return DidResolver(ResolverOptions(**options), readings)  # pyright: ignore[reportArgumentType] - of mixed types


def own(did: Did = DID, key: SigningKey = KEY) -> Proof:
    return prove(did, key, CHALLENGE)


def strangers(count: int) -> list[Did]:
    return [did_peaq(substrate_account(SigningKey.generate("ed25519").public)) for _ in range(count)]


def signed_document(device: SigningKey, until_s: int = 4_000_000_000) -> bytes:
    key = ("#d", "Ed25519VerificationKey2020", device.public.raw.hex())
    return on_chain(sign(document(DID, key), DID, KEY, kind="Sr25519VerificationKey2020", until_s=until_s))


async def test_what_was_read_serves_for_a_while_and_is_then_read_again(chain: Chain, resolver: DidResolver) -> None:
    chain.put(DID)
    for passed_s, reads in ((0, 1), (299, 1), (2, 2), (0, 2)):
        chain.now_s += passed_s
        assert (await resolver.authenticate(DID, own(), CHALLENGE)).is_stale is False
        assert chain.reads == reads


async def test_that_there_is_nothing_is_believed_for_a_shorter_while(chain: Chain, resolver: DidResolver) -> None:
    for passed_s, reads in ((0, 1), (29, 1), (2, 2)):
        chain.now_s += passed_s
        with pytest.raises(NotProven) as refused:
            await resolver.authenticate(DID, own(), CHALLENGE)
        assert (refused.value.rule, chain.reads) == ("not_on_chain", reads)


async def test_a_did_that_is_written_gets_in_within_half_a_minute(chain: Chain, resolver: DidResolver) -> None:
    with pytest.raises(NotProven):
        await resolver.authenticate(DID, own(), CHALLENGE)
    chain.put(DID)
    chain.now_s += 31
    assert (await resolver.authenticate(DID, own(), CHALLENGE)).how == "subject"


async def test_no_refusal_rests_on_a_reading_that_is_older(chain: Chain, resolver: DidResolver) -> None:
    """A new key in a document works within half a minute, though readings serve for five."""
    chain.put(DID, signed_document(DEVICE))
    new = SigningKey.generate("ed25519")
    proof = prove(did_key(new.public), new, CHALLENGE)
    await resolver.authenticate(DID, prove(did_key(DEVICE.public), DEVICE, CHALLENGE), CHALLENGE)
    chain.put(DID, signed_document(new))
    with pytest.raises(NotProven):
        await resolver.authenticate(DID, proof, CHALLENGE)
    assert chain.reads == 1
    chain.now_s += 31
    assert (await resolver.authenticate(DID, proof, CHALLENGE)).how == "document"


async def test_however_many_ask_the_chain_is_read_once(chain: Chain, resolver: DidResolver) -> None:
    chain.put(DID)
    chain.gate = asyncio.Event()
    asking = [asyncio.create_task(resolver.authenticate(DID, own(), CHALLENGE)) for _ in range(50)]
    impatient = asyncio.create_task(resolver.authenticate(DID, own(), CHALLENGE))
    await chain.asked()
    impatient.cancel()
    chain.gate.set()
    assert {one.how for one in await asyncio.gather(*asking)} == {"subject"}
    assert chain.reads == 1


async def test_an_unknown_did_is_refused_while_the_chain_is_down(chain: Chain, resolver: DidResolver) -> None:
    chain.put(DID)
    chain.is_down = True
    with pytest.raises(ResolverUnavailable, match="down"):
        await resolver.authenticate(DID, own(), CHALLENGE)


async def test_a_did_that_was_looked_up_but_never_proven_is_unknown(chain: Chain, resolver: DidResolver) -> None:
    chain.put(DID)
    with pytest.raises(NotProven):
        await resolver.authenticate(DID, Proof(algorithm="sr25519", signature=bytes(64)), CHALLENGE)
    chain.is_down = True
    chain.now_s += 301
    with pytest.raises(ResolverUnavailable):
        await resolver.authenticate(DID, own(), CHALLENGE)


async def test_a_known_did_is_served_stale_up_to_the_limit_and_flagged(chain: Chain, resolver: DidResolver) -> None:
    chain.put(DID)
    await resolver.authenticate(DID, own(), CHALLENGE)
    chain.is_down = True
    for passed_s, is_stale in ((300, False), (1, True), (3299, True)):
        chain.now_s += passed_s
        found = await resolver.authenticate(DID, own(), CHALLENGE)
        assert (found.is_stale, found.age_s) == (is_stale, chain.now_s - 1000)
    chain.now_s += 1
    with pytest.raises(ResolverUnavailable):
        await resolver.authenticate(DID, own(), CHALLENGE)
    chain.is_down = False
    assert (await resolver.authenticate(DID, own(), CHALLENGE)).is_stale is False


async def test_a_known_did_does_not_wait_long_for_a_chain_that_is_silent(chain: Chain, resolver: DidResolver) -> None:
    chain.put(DID)
    await resolver.authenticate(DID, own(), CHALLENGE)
    chain.now_s += 301
    chain.gate = asyncio.Event()
    found = await resolver.authenticate(DID, own(), CHALLENGE)
    assert (found.is_stale, found.unconfirmed) == (True, "the chain was not read within 0.5 s")
    chain.gate.set()
    assert (await resolver.authenticate(DID, own(), CHALLENGE)).is_stale is False
    assert chain.reads == 2


async def test_a_reading_that_came_while_this_process_stood_still_is_not_given_up(
    chain: Chain, resolver: DidResolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_readings, "_PATIENCE_S", 0.001)
    chain.put(DID)
    await resolver.authenticate(DID, own(), CHALLENGE)
    chain.now_s += 301
    read = chain.read

    async def read_for_long(place: Place) -> Reading:
        time.sleep(0.002)  # noqa: ASYNC251 - nothing of this process goes on meanwhile: that is what is tested
        return await read(place)

    chain.read = read_for_long
    assert (await resolver.authenticate(DID, own(), CHALLENGE)).is_stale is False


async def test_a_stale_reading_lets_nobody_else_in(chain: Chain, resolver: DidResolver) -> None:
    chain.put(DID)
    await resolver.authenticate(DID, own(), CHALLENGE)
    chain.is_down = True
    chain.now_s += 301
    with pytest.raises(NotProven):
        await resolver.authenticate(DID, Proof(algorithm="sr25519", signature=bytes(64)), CHALLENGE)


async def test_a_did_that_was_removed_is_known_no_longer(chain: Chain, resolver: DidResolver) -> None:
    chain.put(DID)
    await resolver.authenticate(DID, own(), CHALLENGE)
    chain.entries.clear()
    chain.now_s += 301
    with pytest.raises(NotProven, match="not_on_chain"):
        await resolver.authenticate(DID, own(), CHALLENGE)
    chain.is_down = True
    chain.now_s += 31
    with pytest.raises(ResolverUnavailable):
        await resolver.authenticate(DID, own(), CHALLENGE)


async def test_an_entry_that_runs_out_is_not_served_from_what_is_kept(chain: Chain, resolver: DidResolver) -> None:
    """Blocks follow each other by six seconds at least: an entry of the last block holds for no more than that."""
    chain.put(DID, validity=1000)
    await resolver.authenticate(DID, own(), CHALLENGE)
    assert chain.reads == 1
    kept = chain.entries[place_of(DID).account]
    past = Reading(entry=kept, block=1000, block_at_s=time.time() - 7)

    async def read_in_the_past(place: Place) -> Reading:
        chain.reads += 1
        if chain.is_down:
            raise ChainUnavailable("down")
        return past

    chain.now_s += 301
    chain.read = read_in_the_past
    await resolver.authenticate(DID, own(), CHALLENGE)
    await resolver.authenticate(DID, own(), CHALLENGE)
    assert chain.reads == 3
    chain.is_down = True
    with pytest.raises(ResolverUnavailable):
        await resolver.authenticate(DID, own(), CHALLENGE)


async def test_strangers_by_the_thousand_push_out_nobody_who_is_known(chain: Chain, resolver: DidResolver) -> None:
    chain.put(DID)
    await resolver.authenticate(DID, own(), CHALLENGE)
    for did in strangers(OTHERS_MOST + 10):
        with pytest.raises(NotProven):
            await resolver.authenticate(did, own(), CHALLENGE)
    reads = chain.reads
    await resolver.authenticate(DID, own(), CHALLENGE)
    assert chain.reads == reads


async def test_what_is_kept_is_bounded(chain: Chain, readings: Readings) -> None:
    place = place_of(DID)
    for number in range(KNOWN_MOST + 5):
        await readings.get(f"did {number}", place)
        readings.keep(f"did {number}")
    reads = chain.reads
    await readings.get("did 5", place)
    assert chain.reads == reads
    await readings.get("did 4", place)
    assert chain.reads == reads + 1


async def test_lookups_under_way_are_bounded(chain: Chain, readings: Readings) -> None:
    chain.gate = asyncio.Event()
    place = place_of(DID)
    asking = [asyncio.create_task(readings.get(f"did {number}", place)) for number in range(FLIGHTS_MOST)]
    await chain.asked(FLIGHTS_MOST)
    with pytest.raises(ResolverUnavailable, match="try again later"):
        await readings.get("one more", place)
    chain.gate.set()
    await asyncio.gather(*asking)
    await readings.get("one more", place)


async def test_closing_ends_what_is_under_way(chain: Chain, readings: Readings, resolver: DidResolver) -> None:
    chain.gate = asyncio.Event()
    asking = asyncio.create_task(resolver.authenticate(DID, own(), CHALLENGE))
    await chain.asked()
    await readings.close()
    with pytest.raises(ResolverUnavailable, match="closed"):
        await asking


METHODS: dict[str, Callable[[], Did]] = {
    "key": lambda: did_key(KEY.public),
    "pkh": lambda: did_pkh(substrate_account(KEY.public), "polkadot:" + "d" * 32),
}


@pytest.mark.parametrize("method", METHODS)
async def test_other_methods_need_no_chain(method: str) -> None:
    did, resolver = METHODS[method](), made(None)
    assert (await resolver.authenticate(did, own(did), CHALLENGE)).how == "subject"
    with pytest.raises(NotProven) as refused:
        await resolver.authenticate(did, own(did), CHALLENGE + b"!")
    assert refused.value.rule == "not_signed_by_subject"


@pytest.mark.parametrize("accepted", ["key", "pkh", "peaq"])
async def test_only_accepted_methods_get_in(chain: Chain, readings: Readings, accepted: str) -> None:
    chain.put(DID)
    resolver = made(readings, methods=(accepted,))
    for did in (*(make() for make in METHODS.values()), DID):
        if did.method == accepted:
            assert (await resolver.authenticate(did, own(did), CHALLENGE)).did == did
            continue
        with pytest.raises(NotProven) as refused:
            await resolver.authenticate(did, own(did), CHALLENGE)
        assert refused.value.rule == "method_not_accepted"


async def test_where_the_operator_wants_no_entry_the_chain_is_not_asked_about_the_subject(
    chain: Chain, readings: Readings
) -> None:
    resolver = made(readings, trust=Trust(entry_required=False))
    assert (await resolver.authenticate(DID, own(), CHALLENGE)).how == "subject"
    assert chain.reads == 0
    with pytest.raises(NotProven, match="not_on_chain"):
        await resolver.authenticate(DID, own(), CHALLENGE + b"!")
    assert chain.reads == 1


async def test_a_did_of_peaq_without_a_chain_is_unavailable() -> None:
    with pytest.raises(ResolverUnavailable, match="peaq_endpoints"):
        await made(None).authenticate(DID, own(), CHALLENGE)


def test_an_evm_account_is_looked_for_under_both_spellings_of_its_address() -> None:
    did = did_peaq(evm_account(SigningKey.generate("secp256k1").public))
    place = place_of(did)
    assert place.names == (did.text, did.text.lower())
    assert place_of(DID, "ig3 {address}").names == (f"ig3 {DID.subject}",)


def test_a_name_that_the_chain_would_not_take_is_refused() -> None:
    with pytest.raises(InvalidDid, match="too long"):
        place_of(DID, "a name with {address} and more")
    with pytest.raises(InvalidDid, match="only did:peaq"):
        place_of(did_key(KEY.public))
