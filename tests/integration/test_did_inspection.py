"""A DID looked at rule by rule, as `ig3 did verify` shows it."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from mesh.errors import InvalidDid
from mesh.identity.accounts import evm_account, substrate_account
from mesh.identity.did import Did, did_key, did_peaq, did_pkh
from mesh.identity.keys import SigningKey
from mesh.identity.peaq.document import encode_document
from mesh.identity.peaq.inspection import DidReport, inspect
from mesh.identity.peaq.own_document import own_document
from mesh.identity.peaq.place import place_of
from mesh.identity.peaq.signed_document import sign_document
from mesh.identity.settings import IdentitySettings
from tests.peaq_chain import PeaqChain
from tests.peaq_documents import FOREVER, document, on_chain
from tests.peaq_metadata import small_runtime

OWNER = SigningKey.generate("sr25519")
OWNER_DID = did_peaq(substrate_account(OWNER.public))
DEVICE = SigningKey.generate("ed25519")
WALLET = SigningKey.generate("secp256k1")


@pytest.fixture(scope="module")
def chain() -> Iterator[PeaqChain]:
    with PeaqChain(small_runtime()) as running:
        yield running


def settings(chain: PeaqChain, **more: object) -> IdentitySettings:
    given = {
        "did_methods": ("peaq",),
        "peaq_endpoints": (chain.url,),
        "peaq_genesis": chain.genesis,
        "peaq_timeout": timedelta(seconds=30),
    } | more
    return IdentitySettings(**given)  # pyright: ignore[reportArgumentType] - of mixed types


def rules(report: DidReport) -> dict[str, str]:
    """Per rule how it holds, or the name of the refusal."""
    return {one.name: one.rule or one.how or "holds" for one in report.rules}


def own_document_on_chain(chain: PeaqChain, did: Did, key: SigningKey, *others: Did) -> None:
    made = sign_document(own_document(did, key.public, others), did, key, until_s=FOREVER)
    place = place_of(did)
    chain.put(place.account, place.names[0], encode_document(made).hex().encode())


async def test_a_did_with_a_document_of_its_own_holds_by_every_rule(chain: PeaqChain) -> None:
    wallet = did_pkh(evm_account(WALLET.public), "eip155:3338")
    own_document_on_chain(chain, OWNER_DID, OWNER, did_key(DEVICE.public), wallet)
    expected = {
        "method accepted": "peaq",
        "entry on the chain": "holds",
        "document": "holds",
        "about this DID": "holds",
        "signature of the document": "holds",
        "keys for authentication": "holds",
    }
    report = await inspect(settings(chain), OWNER_DID)
    assert (report.is_accepted, rules(report)) == (True, expected)
    for key, how in (
        (OWNER, "its own key"),
        (DEVICE, "key #key-2 of its document"),
        (WALLET, "key #key-3 of its document"),
    ):
        report = await inspect(settings(chain), OWNER_DID, key)
        assert (report.is_accepted, rules(report)) == (True, expected | {"proof by this key": how})
    report = await inspect(settings(chain), OWNER_DID, SigningKey.generate("secp256k1"))
    assert (report.is_accepted, rules(report)["proof by this key"]) == (False, "not_signed_by_document_key")


async def test_an_evm_account_can_have_a_document_too(chain: PeaqChain) -> None:
    did = did_peaq(evm_account(WALLET.public))
    own_document_on_chain(chain, did, WALLET, did_key(DEVICE.public))
    for key, how in ((WALLET, "its own key"), (DEVICE, "key #key-2 of its document")):
        assert rules(await inspect(settings(chain), did, key))["proof by this key"] == how


async def test_every_rule_that_fails_is_named(chain: PeaqChain) -> None:
    key = SigningKey.generate("ed25519")
    did, place = did_peaq(substrate_account(key.public)), place_of(did_peaq(substrate_account(key.public)))
    report = await inspect(settings(chain), did)
    assert (report.is_accepted, rules(report)) == (
        False,
        {"method accepted": "peaq", "entry on the chain": "not_on_chain"},
    )
    report = await inspect(settings(chain, peaq_entry="optional"), did)
    assert report.is_accepted
    chain.put(place.account, place.names[0], on_chain(document(did, about=OWNER_DID.text)), validity=1)
    report = await inspect(settings(chain, did_methods=("key",)), did, key)
    assert (report.is_accepted, rules(report)) == (
        False,
        {
            "method accepted": "method_not_accepted",
            "entry on the chain": "entry_expired",
            "document": "holds",
            "about this DID": "document_about_another",
            "signature of the document": "document_unsigned",
            "keys for authentication": "no_readable_key",
            "proof by this key": "method_not_accepted",
        },
    )


async def test_a_chain_that_cannot_be_asked_is_no_proof(chain: PeaqChain) -> None:
    report = await inspect(settings(chain, peaq_genesis="0x" + "00" * 32), OWNER_DID, OWNER)
    assert (report.is_accepted, rules(report)) == (
        False,
        {"method accepted": "peaq", "entry on the chain": "unavailable", "proof by this key": "unavailable"},
    )
    assert "it serves another chain" in report.rules[1].why_not


async def test_a_did_that_needs_no_chain_is_looked_at_without_one() -> None:
    did = did_key(DEVICE.public)
    report = await inspect(IdentitySettings(), did)
    assert (report.is_accepted, rules(report)) == (True, {"method accepted": "key"})
    report = await inspect(IdentitySettings(), did, DEVICE)
    assert (report.is_accepted, rules(report)["proof by this key"]) == (True, "its own key")
    report = await inspect(IdentitySettings(), did, OWNER)
    assert (report.is_accepted, rules(report)["proof by this key"]) == (False, "not_signed_by_subject")


def test_what_can_have_no_document_is_refused() -> None:
    with pytest.raises(InvalidDid, match="only did:peaq"):
        own_document(did_key(DEVICE.public), DEVICE.public)
    account = did_pkh(substrate_account(DEVICE.public), "polkadot:" + "0" * 32)
    for other in (account, OWNER_DID):
        with pytest.raises(InvalidDid, match="does not say which key"):
            own_document(OWNER_DID, OWNER.public, [other])
