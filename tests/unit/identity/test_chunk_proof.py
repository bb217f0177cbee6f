"""A node's signature for its chunks, under every kind of DID that a device may have."""

import base64

import pytest
from msgspec.structs import replace

from mesh.errors import InvalidKey
from mesh.identity.accounts import evm_account, substrate_account
from mesh.identity.chunk_proof import has_signed, sign_chunks
from mesh.identity.did import Did, did_key, did_peaq, did_pkh
from mesh.identity.keys import Algorithm, SigningKey

HEAD = bytes(range(32))
SECRET = b"\x07" * 32


def key_of(algorithm: Algorithm) -> SigningKey:
    return SigningKey.from_secret(algorithm, SECRET)


DIDS: dict[str, tuple[Did, SigningKey]] = {
    "did:key ed25519": (did_key(key_of("ed25519").public), key_of("ed25519")),
    "did:key sr25519": (did_key(key_of("sr25519").public), key_of("sr25519")),
    "did:key secp256k1": (did_key(key_of("secp256k1").public), key_of("secp256k1")),
    "did:peaq sr25519": (did_peaq(substrate_account(key_of("sr25519").public)), key_of("sr25519")),
    "did:peaq ed25519": (did_peaq(substrate_account(key_of("ed25519").public)), key_of("ed25519")),
    "did:peaq ecdsa": (did_peaq(substrate_account(key_of("secp256k1").public)), key_of("secp256k1")),
    "did:peaq evm": (did_peaq(evm_account(key_of("secp256k1").public)), key_of("secp256k1")),
    "did:pkh evm": (did_pkh(evm_account(key_of("secp256k1").public), "eip155:1"), key_of("secp256k1")),
}


@pytest.mark.parametrize("name", DIDS)
def test_the_subjects_own_key_signs_for_one_chain_and_no_other(name: str) -> None:
    did, key = DIDS[name]
    signature = sign_chunks(did, key, HEAD)
    assert has_signed(did.text, signature, HEAD)
    assert not has_signed(did.text, signature, bytes(32))


@pytest.mark.parametrize("name", DIDS)
def test_nobody_else_signs_for_it(name: str) -> None:
    did, _ = DIDS[name]
    for other_name, (other, other_key) in DIDS.items():
        if other_key.public != DIDS[name][1].public:
            assert not has_signed(did.text, sign_chunks(other, other_key, HEAD), HEAD), other_name


@pytest.mark.parametrize("name", DIDS)
def test_a_login_of_the_same_key_is_no_signature_for_chunks(name: str) -> None:
    did, key = DIDS[name]
    login = base64.b64encode(key.sign(b"ig3-connect-v1\n" + HEAD)).decode()
    assert not has_signed(did.text, replace(sign_chunks(did, key, HEAD), signature_base64=login), HEAD)


@pytest.mark.parametrize("text", ["", "no base64!", "AAAA", "é", base64.b64encode(bytes(64)).decode()])
def test_what_is_malformed_is_no_signature(text: str) -> None:
    did, key = DIDS["did:peaq ecdsa"]
    good = sign_chunks(did, key, HEAD)
    assert not has_signed(did.text, replace(good, signature_base64=text), HEAD)
    assert not has_signed(did.text, replace(good, public_key_base64=text), HEAD)
    assert not has_signed(did.text, replace(good, algorithm=text), HEAD)


def test_a_key_that_is_not_the_subjects_signs_nothing() -> None:
    with pytest.raises(InvalidKey):
        sign_chunks(DIDS["did:key ed25519"][0], key_of("sr25519"), HEAD)
