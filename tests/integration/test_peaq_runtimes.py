"""Reading and writing attributes by substrate-interface as it is, against a stand-in for a node of peaq.

On metadata of our own, and also on a chain's own metadata where ``IG3_PEAQ_METADATA`` names a file with it.
"""

import asyncio
from collections.abc import Iterator

import pytest

from mesh.errors import RegistrationRefused
from mesh.identity.accounts import evm_account, substrate_account
from mesh.identity.did import did_peaq
from mesh.identity.keys import Algorithm, SigningKey
from mesh.identity.peaq.chain import ChainReader
from mesh.identity.peaq.options import ChainOptions
from mesh.identity.peaq.place import Place, place_of
from mesh.identity.peaq.registration import write_document
from tests.peaq_chain import NO_LIMIT, PeaqChain, blake2
from tests.peaq_metadata import runtimes, small_runtime

ALGORITHMS: tuple[Algorithm, ...] = ("sr25519", "ed25519", "secp256k1")


@pytest.fixture(scope="module", params=list(runtimes()))
def chain(request: pytest.FixtureRequest) -> Iterator[PeaqChain]:
    """A node of each runtime, which the tests share: each uses an account of its own."""
    with PeaqChain(runtimes()[request.param]) as running:
        yield running


@pytest.fixture(scope="module")
def reader(chain: PeaqChain) -> Iterator[ChainReader]:
    reader = ChainReader(options(chain))
    yield reader
    asyncio.run(reader.close())


def options(chain: PeaqChain) -> ChainOptions:
    return ChainOptions(endpoints=(chain.url,), genesis=chain.genesis, max_head_age_s=300, timeout_s=30)


def somebody(algorithm: Algorithm = "sr25519") -> tuple[SigningKey, Place]:
    key = SigningKey.generate(algorithm)
    return key, place_of(did_peaq(substrate_account(key.public)))


@pytest.mark.parametrize("value", [b"0a0378", b"0x0a0378", b"\x0a\x03\xff\x00x", b"", b"x" * 1_000_000])
async def test_what_stands_on_the_chain_is_read_byte_for_byte(
    chain: PeaqChain, reader: ChainReader, value: bytes
) -> None:
    _, place = somebody()
    chain.put(place.account, place.names[0], value, validity=77)
    found = await reader.read(place)
    assert found.entry is not None
    assert (found.entry.name, found.entry.value, found.entry.validity) == (place.names[0], value, 77)
    assert found.block == chain.head
    assert found.block_at_s == pytest.approx(chain.at_s, abs=0.001)
    assert found.is_expired


async def test_a_missing_entry_is_told_from_an_empty_one(chain: PeaqChain, reader: ChainReader) -> None:
    """The chain answers for both with the same empty value."""
    _, place = somebody()
    assert (await reader.read(place)).entry is None
    chain.put(place.account, place.names[0], b"", validity=0)
    entry = (await reader.read(place)).entry
    assert entry is not None
    assert (entry.value, entry.validity) == (b"", 0)


async def test_only_finalised_state_is_read(chain: PeaqChain, reader: ChainReader) -> None:
    _, place = somebody()
    chain.put(place.account, place.names[0], b"not final", finalised=False)
    assert (await reader.read(place)).entry is None


@pytest.mark.parametrize("write", [str, str.lower], ids=["checksum", "small letters"])
async def test_the_entry_of_an_evm_account_is_found(chain: PeaqChain, reader: ChainReader, write: type[str]) -> None:
    account = evm_account(SigningKey.generate("secp256k1").public)
    mapped = blake2(b"evm:" + account.address)
    chain.put(mapped, f"did:peaq:{write(str(account))}", b"found")
    entry = (await reader.read(place_of(did_peaq(account)))).entry
    assert entry is not None
    assert entry.value == b"found"


async def test_a_document_is_written_changed_and_kept_from_others(chain: PeaqChain) -> None:
    told = options(chain)
    # A connection to a chain of many types takes a second: one kind of key is enough there.
    for algorithm in ALGORITHMS if chain.runtime is small_runtime() else ALGORITHMS[:1]:
        key, place = somebody(algorithm)
        added = await asyncio.to_thread(write_document, told, place, b"0a0131", payer=key, valid_for=10)
        assert (added.call, added.block) == ("add_attribute", chain.hash_of(chain.head))
        changed = await asyncio.to_thread(write_document, told, place, b"0a0132" * 100, payer=key)
        assert (changed.call, changed.block) == ("update_attribute", chain.hash_of(chain.head))
        with pytest.raises(RegistrationRefused, match="somebody wrote this attribute before"):
            await asyncio.to_thread(write_document, told, place, b"0a0132" * 100, payer=SigningKey.generate(algorithm))
        assert chain.attribute(place.account, place.names[0]) == (b"0a0132" * 100, NO_LIMIT)
    # A reader that has just looked knows the head of a moment ago: one that has not looked yet knows the one of now.
    fresh = ChainReader(options(chain))
    entry = (await fresh.read(place)).entry
    await fresh.close()
    assert entry is not None
    assert entry.value == b"0a0132" * 100
