"""Keys: public vectors, strict checks, and no bytes that make verifying raise."""

import hashlib

import pytest
import sr25519
from eth_keys.datatypes import PrivateKey as OraclePrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from substrateinterface import Keypair, KeypairType

from mesh.errors import InvalidKey
from mesh.identity.keys import Algorithm, PublicKey, SigningKey, verify

ALGORITHMS: tuple[Algorithm, ...] = ("ed25519", "sr25519", "secp256k1")
ALICE_SEED = bytes.fromhex("e5be9a5092b81bca64be81d212e7f2f9eba183bb7a90954f7b76361f6edb5c0a")
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

each_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)


def key_of(algorithm: Algorithm) -> SigningKey:
    return SigningKey.from_secret(algorithm, bytes(range(1, 33)))


def test_ed25519_is_that_of_rfc_8032() -> None:
    key = SigningKey.from_secret(
        "ed25519", bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    )
    assert key.public.raw.hex() == "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    signature = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert key.sign(b"\x72") == signature
    assert verify(key.public, b"\x72", signature)


def test_sr25519_is_that_of_substrate() -> None:
    alice = SigningKey.from_secret("sr25519", ALICE_SEED)
    assert alice.public.raw.hex() == "d43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d"


@pytest.mark.parametrize("algorithm", ["ed25519", "sr25519"])
def test_signatures_are_those_of_an_independent_library(algorithm: Algorithm) -> None:
    ours = key_of(algorithm)
    kind = {"ed25519": KeypairType.ED25519, "sr25519": KeypairType.SR25519}[algorithm]
    theirs = Keypair.create_from_seed(ours.secret, crypto_type=kind)
    assert theirs.public_key == ours.public.raw
    assert verify(ours.public, b"message", theirs.sign(b"message"))
    assert theirs.verify(b"message", ours.sign(b"message"))


def test_ecdsa_signs_the_blake2b_of_the_message_as_substrate_does() -> None:
    ours = key_of("secp256k1")
    theirs = OraclePrivateKey(ours.secret)
    digest = hashlib.blake2b(b"message", digest_size=32).digest()
    assert theirs.public_key.to_compressed_bytes() == ours.public.raw
    assert theirs.sign_msg_hash(digest).to_bytes() == ours.sign(b"message")


@each_algorithm
def test_what_is_signed_verifies_and_nothing_else_does(algorithm: Algorithm) -> None:
    key, other = key_of(algorithm), SigningKey.generate(algorithm)
    signature = key.sign(b"message")
    assert verify(key.public, b"message", signature)
    assert not verify(key.public, b"massage", signature)
    assert not verify(other.public, b"message", signature)


@each_algorithm
@given(secret=st.binary(min_size=32, max_size=32), message=st.binary(max_size=200))
@settings(max_examples=50)
def test_every_secret_comes_back_as_the_same_key(algorithm: Algorithm, secret: bytes, message: bytes) -> None:
    try:
        key = SigningKey.from_secret(algorithm, secret)
    except InvalidKey:
        assert algorithm == "secp256k1"
        assert not 0 < int.from_bytes(secret, "big") < ORDER
        return
    again = SigningKey.from_secret(algorithm, key.secret)
    assert again.public == key.public
    assert verify(key.public, message, again.sign(message))


@each_algorithm
@given(data=st.data())
@settings(max_examples=200)
def test_no_bytes_make_verifying_raise(algorithm: Algorithm, data: st.DataObject) -> None:
    size = len(key_of(algorithm).public.raw)
    head = st.sampled_from([b"\x02", b"\x03"]) if algorithm == "secp256k1" else st.just(b"")
    start = data.draw(head)
    raw = start + data.draw(st.binary(min_size=size - len(start), max_size=size - len(start)))
    signature = data.draw(st.binary(max_size=70) | st.binary(min_size=64, max_size=65))
    assert not verify(PublicKey(algorithm, raw), data.draw(st.binary()), signature)


@pytest.mark.parametrize(
    "point",
    [
        bytes(32),
        b"\x01" + bytes(31),
        b"\xec" + b"\xff" * 30 + b"\x7f",
        bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    ],
    ids=["order 4", "order 1", "order 2", "order 8", "order 8 too"],
)
def test_ed25519_keys_of_small_order_sign_nothing(point: bytes) -> None:
    # With such a key R = key and s = 0 satisfy the bare equation for many messages.
    for message in range(64):
        assert not verify(PublicKey("ed25519", point), bytes([message]), point + bytes(32))


def test_an_ed25519_signature_has_no_second_form() -> None:
    key = key_of("ed25519")
    signature = key.sign(b"message")
    order = 2**252 + 27742317777372353535851937790883648493
    again = signature[:32] + (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    assert not verify(key.public, b"message", again)


def test_under_the_neutral_element_of_sr25519_nothing_verifies() -> None:
    # A commitment s*B and s: it fits for the zero key whatever the message is. Made from a key whose scalar is known.
    public, secret = sr25519.pair_from_seed(b"\x01" * 32)  # pyright: ignore[reportAttributeAccessIssue] - no types
    forged = public + secret[:31] + bytes([secret[31] | 0x80])
    assert sr25519.verify(forged, b"anything", bytes(32))  # pyright: ignore[reportAttributeAccessIssue] - no types
    assert not verify(PublicKey("sr25519", bytes(32)), b"anything", forged)


def test_an_ecdsa_signature_counts_with_the_low_s_alone() -> None:
    key = key_of("secp256k1")
    signature = key.sign(b"message")
    r, s, recovery = signature[:32], int.from_bytes(signature[32:64], "big"), signature[64]
    high = r + (ORDER - s).to_bytes(32, "big")
    assert verify(key.public, b"message", signature)
    assert verify(key.public, b"message", signature[:64])
    assert not verify(key.public, b"message", high)
    assert not verify(key.public, b"message", high + bytes([1 - recovery]))
    assert not verify(key.public, b"message", signature[:64] + bytes([1 - recovery]))
    assert not verify(key.public, b"message", signature[:64] + b"\x02")


@pytest.mark.parametrize("edge", [0, 1, ORDER // 2 + 1, ORDER - 1, ORDER, 2**256 - 1])
def test_ecdsa_numbers_at_the_edges_verify_nothing(edge: int) -> None:
    key = key_of("secp256k1")
    signature, raw = key.sign(b"message"), edge.to_bytes(32, "big")
    for forged in (raw + signature[32:64], signature[:32] + raw, raw + raw):
        assert not verify(key.public, b"message", forged)
        assert not verify(key.public, b"message", forged + signature[64:])


@pytest.mark.parametrize(("signer", "claimed"), [("ed25519", "sr25519"), ("sr25519", "ed25519")])
def test_the_same_bytes_are_two_keys_that_do_not_stand_for_each_other(signer: Algorithm, claimed: Algorithm) -> None:
    key = key_of(signer)
    assert not verify(PublicKey(claimed, key.public.raw), b"message", key.sign(b"message"))


@each_algorithm
def test_a_secret_is_shown_nowhere(algorithm: Algorithm) -> None:
    key = key_of(algorithm)
    for shown in (repr(key), str(key), f"{key}", repr([key])):
        assert shown.strip("[]") == f"SigningKey({algorithm})"


@pytest.mark.parametrize("raw", [b"", bytes(31), bytes(33), bytes(64)], ids=len)
@each_algorithm
def test_secrets_of_another_length_are_refused(algorithm: Algorithm, raw: bytes) -> None:
    with pytest.raises(InvalidKey, match="32 bytes"):
        SigningKey.from_secret(algorithm, raw)


@pytest.mark.parametrize("number", [0, ORDER, 2**256 - 1])
def test_a_number_that_is_no_secret_of_secp256k1_is_refused_and_not_shown(number: int) -> None:
    with pytest.raises(InvalidKey, match="no secret key of secp256k1") as refused:
        SigningKey.from_secret("secp256k1", number.to_bytes(32, "big"))
    assert number.to_bytes(32, "big").hex() not in str(refused.value)


@each_algorithm
def test_public_keys_of_another_length_are_refused(algorithm: Algorithm) -> None:
    for length in (0, 31, 34, 65):
        with pytest.raises(InvalidKey, match="bytes"):
            PublicKey(algorithm, bytes(length))


@pytest.mark.parametrize("first", [0, 1, 4, 5, 255])
def test_only_a_compressed_key_of_secp256k1_is_one(first: int) -> None:
    with pytest.raises(InvalidKey, match="compressed"):
        PublicKey("secp256k1", bytes([first]) + bytes(32))


def test_other_algorithms_are_refused_by_name() -> None:
    unknown: Algorithm = "p256"  # pyright: ignore[reportAssignmentType] - what a stranger may send
    with pytest.raises(InvalidKey, match="'p256' is no algorithm: use ed25519, sr25519, secp256k1"):
        PublicKey(unknown, bytes(32))
    with pytest.raises(InvalidKey, match="'p256' is no algorithm"):
        SigningKey.from_secret(unknown, bytes(32))
