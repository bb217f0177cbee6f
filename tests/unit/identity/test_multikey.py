"""The four spellings of a public key, each against the type that its document states."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidKey
from mesh.identity import base58, ss58
from mesh.identity.accounts import EvmAccount
from mesh.identity.keys import Algorithm, PublicKey
from mesh.identity.multikey import decode_multikey, encode_multikey, read_multibase

ED25519, SR25519 = "Ed25519VerificationKey2020", "Sr25519VerificationKey2020"
SECP256K1 = "EcdsaSecp256k1RecoveryMethod2020"
TYPES: dict[Algorithm, str] = {"ed25519": ED25519, "sr25519": SR25519, "secp256k1": SECP256K1}
RAW = bytes.fromhex("d43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d")
COMPRESSED = b"\x02" + RAW
ADDRESS = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"


def public_keys() -> st.SearchStrategy[PublicKey]:
    short = st.binary(min_size=32, max_size=32)
    return st.one_of(
        short.map(lambda raw: PublicKey("ed25519", raw)),
        short.map(lambda raw: PublicKey("sr25519", raw)),
        st.tuples(st.sampled_from([b"\x02", b"\x03"]), short).map(lambda two: PublicKey("secp256k1", two[0] + two[1])),
    )


@given(public_keys())
def test_every_key_comes_back_from_each_of_its_spellings(key: PublicKey) -> None:
    kind = TYPES[key.algorithm]
    assert decode_multikey(encode_multikey(key)) == key
    for text in (encode_multikey(key), key.raw.hex(), f"0x{key.raw.hex()}", key.raw.hex().upper()):
        assert read_multibase(text, kind) == key
    if key.algorithm != "secp256k1":
        assert read_multibase("z" + ss58.encode(key.raw), kind) == key
        assert read_multibase("z" + ss58.encode(key.raw, 1284), kind) == key


def test_the_first_characters_tell_the_algorithm() -> None:
    assert encode_multikey(PublicKey("ed25519", RAW)).startswith("z6Mk")
    assert encode_multikey(PublicKey("sr25519", RAW)).startswith("z6Q")
    assert encode_multikey(PublicKey("secp256k1", COMPRESSED)).startswith("zQ3s")


@pytest.mark.parametrize("text", [f"eip155:3338:{ADDRESS}", f"eip155:1:{ADDRESS.lower()}", ADDRESS, ADDRESS.lower()])
def test_an_evm_account_is_a_key_of_the_recovery_method(text: str) -> None:
    assert read_multibase(text, SECP256K1) == EvmAccount(bytes.fromhex(ADDRESS[2:]))


@pytest.mark.parametrize("kind", [ED25519, SR25519])
def test_an_evm_account_is_no_key_of_another_type(kind: str) -> None:
    with pytest.raises(InvalidKey, match="this one is of secp256k1"):
        read_multibase(f"eip155:1:{ADDRESS}", kind)


@pytest.mark.parametrize("stated", TYPES.items())
@given(key=public_keys())
def test_a_key_that_contradicts_its_type_is_refused(stated: tuple[Algorithm, str], key: PublicKey) -> None:
    algorithm, kind = stated
    if key.algorithm != algorithm:
        with pytest.raises(InvalidKey, match=f"a {kind} holds a key of {algorithm}, this one is of {key.algorithm}"):
            read_multibase(encode_multikey(key), kind)


def test_the_hash_of_an_ecdsa_key_is_not_the_key() -> None:
    with pytest.raises(InvalidKey, match="only the hash of one"):
        read_multibase("z" + ss58.encode(RAW), SECP256K1)


def test_an_unknown_type_is_refused_by_name() -> None:
    with pytest.raises(InvalidKey, match="'JsonWebKey2020' is no type of key known here"):
        read_multibase(RAW.hex(), "JsonWebKey2020")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no key in hex"),
        ("m" + RAW.hex(), "no key in hex"),
        (RAW.hex() + "\n", "no key in hex"),
        (RAW.hex()[:-1], "no key in hex"),
        (RAW.hex()[:-2], "has 32 bytes, this has 31"),
        (RAW.hex() * 2, "has 32 bytes, this has 64"),
        ("z", "not the SS58 address"),
        ("z" + base58.encode(b"\xed\x01" + RAW[:-1]), "has 32 bytes, this has 31"),
        ("z" + base58.encode(b"\xec\x01" + RAW), "above 127|not the SS58|does not fit"),
        ("z" + ss58.encode(RAW)[:-1] + "1", "does not fit"),
        ("z0OIl", "not a character of base58"),
        ("eip155:0:" + ADDRESS, "no key in hex"),
        ("eip155:1:" + ADDRESS[:-1], "not the address of an EVM account"),
        ("eip155:1:" + ADDRESS.replace("A", "a"), "letter case"),
        ("z" + "1" * 200, "too many"),
        ("f" * 1_000_000, "too long"),
    ],
)
def test_a_damaged_key_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidKey, match=reason) as refused:
        read_multibase(text, ED25519)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("text", ["", RAW.hex(), "u" + RAW.hex(), "z" + ss58.encode(RAW), "z0", "z" + "1" * 200])
def test_a_key_that_does_not_say_what_it_is_stands_in_no_did_key(text: str) -> None:
    with pytest.raises(InvalidKey):
        decode_multikey(text)


@given(st.text(max_size=300), st.sampled_from([*TYPES.values(), ""]) | st.text())
def test_any_text_is_a_key_or_refused(text: str, kind: str) -> None:
    try:
        assert isinstance(read_multibase(text, kind), PublicKey | EvmAccount)
    except InvalidKey:
        return
