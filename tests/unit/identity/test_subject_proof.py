"""Proofs: the subject's key signs and is believed; nothing else is, whatever was changed."""

import random
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from substrateinterface import Keypair, KeypairType

from mesh.errors import InvalidDid, InvalidKey
from mesh.identity import ss58
from mesh.identity.accounts import EvmAccount, SubstrateAccount, evm_account, substrate_account
from mesh.identity.did import Did, did_key, did_peaq, did_pkh, parse_did
from mesh.identity.evm import evm_address, sign_personal
from mesh.identity.keys import Algorithm, PublicKey, SigningKey
from mesh.identity.subject_proof import Proof, prove, subject_signed

ALGORITHMS: tuple[Algorithm, ...] = ("ed25519", "sr25519", "secp256k1")
POLKADOT = "polkadot:91b171bb158e2d3848fa23a9f1c25182"
MESSAGE = b"ig3 says who is who, nonce 0123456789abcdef"


class Holder(NamedTuple):
    """Somebody with a DID and its key."""

    did: Did
    key: SigningKey


def holders() -> dict[str, Holder]:
    found: dict[str, Holder] = {}
    for number, algorithm in enumerate(ALGORITHMS, 1):
        key = SigningKey.from_secret(algorithm, bytes([number]) * 32)
        account = substrate_account(key.public)
        found[f"key, {algorithm}"] = Holder(did_key(key.public), key)
        found[f"peaq, {algorithm}"] = Holder(did_peaq(account), key)
        found[f"pkh, {algorithm}"] = Holder(did_pkh(account, POLKADOT), key)
    wallet = SigningKey.from_secret("secp256k1", b"\x07" * 32)
    found["peaq, evm"] = Holder(did_peaq(evm_account(wallet.public)), wallet)
    found["pkh, evm"] = Holder(did_pkh(evm_account(wallet.public), "eip155:3338"), wallet)
    return found


HOLDERS = holders()
each_holder = pytest.mark.parametrize("holder", HOLDERS.values(), ids=list(HOLDERS))
SUBSTRATE = {name: one for name, one in HOLDERS.items() if isinstance(one.did.subject, SubstrateAccount)}
OTHERS = {name: one for name, one in HOLDERS.items() if name not in SUBSTRATE}


@each_holder
def test_the_subject_is_believed(holder: Holder) -> None:
    assert subject_signed(holder.did, prove(holder.did, holder.key, MESSAGE), MESSAGE)


@each_holder
def test_nobody_else_is(holder: Holder) -> None:
    for other in HOLDERS.values():
        if other.key is not holder.key:
            assert not subject_signed(holder.did, prove(other.did, other.key, MESSAGE), MESSAGE)


@each_holder
def test_a_key_proves_nothing_about_the_did_of_another(holder: Holder) -> None:
    stranger = SigningKey.generate(holder.key.public.algorithm)
    with pytest.raises(InvalidKey, match="is not that of did:"):
        prove(holder.did, stranger, MESSAGE)
    own = did_key(stranger.public)
    proof = msgspec.structs.replace(prove(own, stranger, MESSAGE), public_key=stranger.public.raw)
    assert not subject_signed(holder.did, proof, MESSAGE)
    assert not subject_signed(holder.did, msgspec.structs.replace(proof, public_key=None), MESSAGE)


@each_holder
def test_a_stated_key_must_be_the_subjects(holder: Holder) -> None:
    proof = prove(holder.did, holder.key, MESSAGE)
    stated = msgspec.structs.replace(proof, public_key=holder.key.public.raw)
    assert subject_signed(holder.did, stated, MESSAGE)
    other = SigningKey.generate(holder.key.public.algorithm).public.raw
    for wrong in (other, b"", holder.key.public.raw[:-1], holder.key.public.raw + b"\0"):
        assert not subject_signed(holder.did, msgspec.structs.replace(proof, public_key=wrong), MESSAGE)


@pytest.mark.parametrize("holder", SUBSTRATE.values(), ids=list(SUBSTRATE))
def test_a_wallet_of_substrate_may_wrap_the_message(holder: Holder) -> None:
    def signed(message: bytes) -> Proof:
        return prove(holder.did, holder.key, message)

    assert subject_signed(holder.did, signed(b"<Bytes>%b</Bytes>" % MESSAGE), MESSAGE)
    for other in (
        b"<Bytes>%b" % MESSAGE,
        b"<bytes>%b</bytes>" % MESSAGE,
        b"<Bytes><Bytes>%b</Bytes></Bytes>" % MESSAGE,
    ):
        assert not subject_signed(holder.did, signed(other), MESSAGE)


@pytest.mark.parametrize("holder", OTHERS.values(), ids=list(OTHERS))
def test_nobody_else_may_wrap_it(holder: Holder) -> None:
    assert not subject_signed(holder.did, prove(holder.did, holder.key, b"<Bytes>%b</Bytes>" % MESSAGE), MESSAGE)


@pytest.mark.parametrize("kind", [KeypairType.ED25519, KeypairType.SR25519])
def test_what_substrates_own_library_signs_is_believed(kind: int) -> None:
    theirs = Keypair.create_from_seed(b"\x05" * 32, ss58_format=42, crypto_type=kind)
    did = parse_did(f"did:peaq:{theirs.ss58_address}")
    algorithm: Algorithm = "ed25519" if kind == KeypairType.ED25519 else "sr25519"
    assert subject_signed(did, Proof(algorithm=algorithm, signature=theirs.sign(MESSAGE)), MESSAGE)


@pytest.mark.parametrize(("signer", "stated"), [("ed25519", "sr25519"), ("sr25519", "ed25519")])
def test_the_stated_algorithm_alone_is_tried(signer: Algorithm, stated: Algorithm) -> None:
    key = SigningKey.generate(signer)
    proof = Proof(algorithm=stated, signature=key.sign(MESSAGE))
    for did in (
        did_peaq(SubstrateAccount(key.public.raw)),
        did_key(key.public),
        did_key(PublicKey(stated, key.public.raw)),
    ):
        assert not subject_signed(did, proof, MESSAGE)


def test_an_ecdsa_account_needs_its_key_stated() -> None:
    holder = HOLDERS["peaq, secp256k1"]
    proof = prove(holder.did, holder.key, MESSAGE)
    assert proof.public_key == holder.key.public.raw
    assert not subject_signed(holder.did, msgspec.structs.replace(proof, public_key=None), MESSAGE)


def test_the_ways_of_ethereum_and_substrate_do_not_stand_for_each_other() -> None:
    key = SigningKey.generate("secp256k1")
    substrate, evm = did_peaq(substrate_account(key.public)), did_peaq(evm_account(key.public))
    as_substrate = Proof(algorithm="secp256k1", public_key=key.public.raw, signature=key.sign(MESSAGE))
    as_wallet = Proof(algorithm="secp256k1", public_key=key.public.raw, signature=sign_personal(key, MESSAGE))
    assert subject_signed(substrate, as_substrate, MESSAGE)
    assert subject_signed(evm, as_wallet, MESSAGE)
    assert not subject_signed(substrate, as_wallet, MESSAGE)
    assert not subject_signed(evm, as_substrate, MESSAGE)


def test_an_account_that_nobody_has_is_nobodys() -> None:
    # Anybody can make signatures that fit the zero key of sr25519: see test_keys.
    public = SigningKey.from_secret("sr25519", b"\x01" * 32).public.raw
    for algorithm in ALGORITHMS:
        proof = Proof(algorithm=algorithm, signature=public + bytes(31) + b"\x80")
        assert not subject_signed(parse_did(f"did:peaq:{ss58.encode(bytes(32))}"), proof, MESSAGE)


@each_holder
def test_an_algorithm_that_is_none_is_refused(holder: Holder) -> None:
    proof = prove(holder.did, holder.key, MESSAGE)
    for word in ("none", "", "ED25519", "p256"):
        unknown: Algorithm = word  # pyright: ignore[reportAssignmentType] - what a stranger may send
        assert not subject_signed(holder.did, msgspec.structs.replace(proof, algorithm=unknown), MESSAGE)


@each_holder
@given(
    algorithm=st.sampled_from(ALGORITHMS),
    public_key=st.none() | st.binary(max_size=40) | st.binary(min_size=32, max_size=33),
    signature=st.binary(max_size=70) | st.binary(min_size=64, max_size=65),
    message=st.binary(max_size=50),
)
@settings(max_examples=60)
def test_no_bytes_are_believed_and_none_raise(
    holder: Holder, algorithm: Algorithm, public_key: bytes | None, signature: bytes, message: bytes
) -> None:
    proof = Proof(algorithm=algorithm, public_key=public_key, signature=signature)
    assert not subject_signed(holder.did, proof, message)


class Claim(NamedTuple):
    """All that a stranger sends."""

    did: str
    proof: Proof
    message: bytes


def flipped(raw: bytes, chance: random.Random) -> bytes:
    at, bit = chance.randrange(len(raw)), 1 << chance.randrange(8)
    return raw[:at] + bytes([raw[at] ^ bit]) + raw[at + 1 :]


def change_signature(claim: Claim, chance: random.Random) -> Claim:
    return claim._replace(proof=msgspec.structs.replace(claim.proof, signature=flipped(claim.proof.signature, chance)))


def cut_signature(claim: Claim, chance: random.Random) -> Claim:
    # ECDSA may leave out its 65th byte, so one byte less is no change there.
    kept = chance.randrange(len(claim.proof.signature) - 1)
    return claim._replace(proof=msgspec.structs.replace(claim.proof, signature=claim.proof.signature[:kept]))


def lengthen_signature(claim: Claim, chance: random.Random) -> Claim:
    longer = claim.proof.signature + chance.randbytes(chance.randrange(1, 70))
    return claim._replace(proof=msgspec.structs.replace(claim.proof, signature=longer))


def change_message(claim: Claim, chance: random.Random) -> Claim:
    return claim._replace(message=flipped(claim.message, chance))


def change_key(claim: Claim, chance: random.Random) -> Claim:
    key = claim.proof.public_key or chance.randbytes(33 if claim.proof.algorithm == "secp256k1" else 32)
    return claim._replace(proof=msgspec.structs.replace(claim.proof, public_key=flipped(key, chance)))


def change_algorithm(claim: Claim, chance: random.Random) -> Claim:
    others = [one for one in ALGORITHMS if one != claim.proof.algorithm]
    return claim._replace(proof=msgspec.structs.replace(claim.proof, algorithm=chance.choice(others)))


def take_another_did(claim: Claim, chance: random.Random) -> Claim:
    key_holder = SigningKey.generate(chance.choice(ALGORITHMS)).public
    account = substrate_account(key_holder)
    return claim._replace(did=str(chance.choice([did_key(key_holder), did_peaq(account), did_pkh(account, POLKADOT)])))


def change_did(claim: Claim, chance: random.Random) -> Claim:
    at = chance.randrange(len(claim.did))
    changed = claim.did[:at] + chr(chance.randrange(33, 127)) + claim.did[at + 1 :]
    # The same text again, another network's chain name or another letter case name the same subject.
    named = claim.did.rpartition(":")[2].lower()
    return take_another_did(claim, chance) if changed.lower().endswith(named) else claim._replace(did=changed)


MUTATIONS: tuple[Callable[[Claim, random.Random], Claim], ...] = (
    *(change_signature, cut_signature, lengthen_signature, change_message),
    *(change_key, change_algorithm, take_another_did, change_did),
)


def is_believed(claim: Claim) -> bool:
    try:
        did = parse_did(claim.did)
    except InvalidDid:
        return False
    return subject_signed(did, claim.proof, claim.message)


def test_none_of_ten_thousand_mutated_proofs_is_believed() -> None:
    chance = random.Random(4)
    claims = [Claim(str(one.did), prove(one.did, one.key, MESSAGE), MESSAGE) for one in HOLDERS.values()]
    assert all(is_believed(claim) for claim in claims)
    believed: Counter[str] = Counter()
    for number in range(10_000):
        mutate = MUTATIONS[number % len(MUTATIONS)]
        mutated = mutate(chance.choice(claims), chance)
        believed[mutate.__name__] += is_believed(mutated)
    assert believed == dict.fromkeys((mutate.__name__ for mutate in MUTATIONS), 0)


def test_an_evm_proof_names_the_account_whatever_the_key_says_of_itself() -> None:
    holder = HOLDERS["peaq, evm"]
    assert holder.did.subject == EvmAccount(evm_address(holder.key.public))
    proof = prove(holder.did, holder.key, MESSAGE)
    off_the_curve = msgspec.structs.replace(proof, public_key=b"\x02" + b"\xff" * 32)
    assert not subject_signed(holder.did, off_the_curve, MESSAGE)
