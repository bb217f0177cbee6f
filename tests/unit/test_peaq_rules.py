"""What an entry on the chain and a proof say together. Anybody may write an entry: alone it proves nothing."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.identity import base58
from mesh.identity.accounts import EvmAccount, evm_account, substrate_account
from mesh.identity.did import Did, did_key, did_peaq
from mesh.identity.evm import sign_personal
from mesh.identity.keys import Algorithm, SigningKey
from mesh.identity.multikey import encode_multikey
from mesh.identity.peaq import rules
from mesh.identity.peaq.connection import Entry, Reading
from mesh.identity.peaq.document import Document, VerificationMethod, decode_document, encode_document
from mesh.identity.peaq.rules import Proven, Refusal, Trust, check_all
from mesh.identity.peaq.signed_document import sign_document
from mesh.identity.subject_proof import Proof, prove, subject_signed
from tests.peaq_documents import document, on_chain, sign

CHALLENGE = b"ig3-connect-v1\n..."
NOW_S = 1_800_000_000.0
ED, SR, EC = "Ed25519VerificationKey2020", "Sr25519VerificationKey2020", "EcdsaSecp256k1RecoveryMethod2020"
TYPES: dict[Algorithm, str] = {"ed25519": ED, "sr25519": SR, "secp256k1": EC}

OWNER = SigningKey.generate("sr25519")
OWNER_DID = did_peaq(substrate_account(OWNER.public))
KEY_IDS = ("#device", f"{OWNER_DID}#device", "0c7f3a52")
DEVICE = SigningKey.generate("ed25519")
STRANGER = SigningKey.generate("ed25519")
ISSUER = SigningKey.generate("ed25519")
ISSUER_DID = did_key(ISSUER.public)


def spelled(key: SigningKey) -> str:
    return encode_multikey(key.public)


def signed_by(key: SigningKey, message: bytes = CHALLENGE) -> Proof:
    """A proof by a key alone, whatever DID it is for."""
    return prove(did_key(key.public), key, message)


def reading(value: bytes | None, *, validity: int = 2000, block: int = 1000) -> Reading:
    entry = None if value is None else Entry(name="did:peaq:x", value=value, validity=validity)
    return Reading(entry=entry, block=block, block_at_s=NOW_S)


def owned(*keys: tuple[str, str, str], **more: Any) -> bytes:
    """A document that the owner has signed."""
    return on_chain(sign(document(OWNER_DID, *keys, **more), OWNER_DID, OWNER, kind=SR))


DEVICE_KEY = ("#device", ED, spelled(DEVICE))


def decide(
    value: bytes | None, proof: Proof, *, did: Did = OWNER_DID, trust: Trust | None = None, now_s: float = NOW_S
) -> Proven | Refusal:
    return judge(did, reading(value), proof, CHALLENGE, trust=trust or Trust(), now_s=now_s)


def judge(did: Did, found: Reading, proof: Proof, message: bytes, *, trust: Trust, now_s: float) -> Proven | Refusal:
    is_subject = subject_signed(did, proof, message)
    return rules.judge(did, found, proof, message, is_subject=is_subject, trust=trust, now_s=now_s)


def rule(found: Proven | Refusal) -> str:
    return found.rule if isinstance(found, Refusal) else f"proven by {found.how}"


def subjects() -> list[tuple[Did, SigningKey]]:
    keys = [SigningKey.generate(algorithm) for algorithm in TYPES]
    substrate = [(did_peaq(substrate_account(key.public)), key) for key in keys]
    return [*substrate, (did_peaq(evm_account(keys[2].public)), keys[2])]


@pytest.mark.parametrize(("did", "key"), subjects(), ids=["ed25519", "sr25519", "ecdsa", "evm"])
@pytest.mark.parametrize("value", [b"00", b"junk that somebody else wrote", b"\x0a\xff", b"ab" * 500_000, owned()])
def test_the_subjects_own_key_proves_it_whatever_others_wrote(did: Did, key: SigningKey, value: bytes) -> None:
    assert rule(decide(value, prove(did, key, CHALLENGE), did=did)) == "proven by subject"


@pytest.mark.parametrize(("did", "key"), subjects(), ids=["ed25519", "sr25519", "ecdsa", "evm"])
def test_whether_the_subject_needs_an_entry_is_the_operators_choice(did: Did, key: SigningKey) -> None:
    proof, relaxed = prove(did, key, CHALLENGE), Trust(entry_required=False)
    assert rule(decide(None, proof, did=did)) == "not_on_chain"
    assert rule(judge(did, reading(None), proof, CHALLENGE, trust=relaxed, now_s=NOW_S)) == "proven by subject"
    assert rule(judge(did, reading(None), proof, CHALLENGE + b"!", trust=relaxed, now_s=NOW_S)) == "not_on_chain"


@pytest.mark.parametrize("algorithm", TYPES)
@pytest.mark.parametrize("signer", ["subject", "issuer"])
def test_a_key_of_a_signed_document_proves_it(algorithm: Algorithm, signer: str) -> None:
    device = SigningKey.generate(algorithm)
    made = document(OWNER_DID, ("#device", TYPES[algorithm], spelled(device)))
    if signer == "subject":
        value, trust = on_chain(sign(made, OWNER_DID, OWNER, kind=SR)), Trust()
    else:
        value, trust = on_chain(sign(made, ISSUER_DID, ISSUER, kind=ED)), Trust(issuers=frozenset({ISSUER_DID}))
    assert decide(value, signed_by(device), trust=trust) == Proven(how="document", key_id="#device")
    assert rule(decide(value, signed_by(device, b"another challenge"), trust=trust)) == "not_signed_by_document_key"


@pytest.mark.parametrize(("did", "key"), subjects(), ids=["ed25519", "sr25519", "ecdsa", "evm"])
def test_a_subject_of_every_kind_can_sign_its_document(did: Did, key: SigningKey) -> None:
    made = sign(document(did, DEVICE_KEY), did, key, kind=TYPES[key.public.algorithm])
    assert rule(decide(on_chain(made), signed_by(DEVICE), did=did)) == "proven by document"


SPELLINGS: dict[str, Callable[[SigningKey], str]] = {
    "hex": lambda key: key.public.raw.hex(),
    "0x and hex": lambda key: "0x" + key.public.raw.hex(),
    "multicodec": spelled,
    "z and SS58": lambda key: f"z{substrate_account(key.public)}",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("algorithm", ["ed25519", "sr25519"])
def test_a_key_is_read_in_each_spelling(algorithm: Algorithm, spelling: str) -> None:
    device = SigningKey.generate(algorithm)
    value = owned(("#device", TYPES[algorithm], SPELLINGS[spelling](device)))
    assert rule(decide(value, signed_by(device))) == "proven by document"


@pytest.mark.parametrize("spelling", ["0x", "eip155:3338:0x", "eip155:1:0x"])
def test_an_evm_account_among_the_keys_signs_as_its_wallet_does(spelling: str) -> None:
    wallet = SigningKey.generate("secp256k1")
    address = EvmAccount.__str__(evm_account(wallet.public)).removeprefix("0x")
    value = owned(("#wallet", EC, f"{spelling}{address}"))
    proof = Proof(algorithm="secp256k1", signature=sign_personal(wallet, CHALLENGE))
    assert rule(decide(value, proof)) == "proven by document"


@pytest.mark.parametrize("key_id", KEY_IDS, ids=["short", "whole", "bare"])
@pytest.mark.parametrize("listed", KEY_IDS, ids=["short", "whole", "bare"])
def test_authentication_names_a_key_with_the_did_before_it_or_without(key_id: str, listed: str) -> None:
    value = owned((key_id, ED, spelled(DEVICE)), listed=[listed])
    same = key_id.removeprefix(OWNER_DID.text) == listed.removeprefix(OWNER_DID.text)
    expected = "proven by document" if same else "key_not_for_authentication"
    assert rule(decide(value, signed_by(DEVICE))) == expected


def stolen_signature() -> bytes:
    """The owner's signature, moved to a document with a stranger's key."""
    genuine = sign(document(OWNER_DID, DEVICE_KEY), OWNER_DID, OWNER, kind=SR)
    made = document(OWNER_DID, ("#device", ED, spelled(STRANGER)))
    made.signature.CopyFrom(genuine.signature)
    return on_chain(made)


def peaqs_own_signature() -> bytes:
    """As in peaq's examples: an issuer's signature over the bare address, which fits any document about it."""
    made = document(OWNER_DID, ("#device", ED, spelled(STRANGER)))
    made.signature.type, made.signature.issuer = ED, ISSUER_DID.text
    made.signature.hash = "0x" + ISSUER.sign(str(OWNER_DID.subject).encode()).hex()
    return on_chain(made)


def with_signer(issuer: Did, key: SigningKey, kind: str, **more: Any) -> bytes:
    return on_chain(sign(document(OWNER_DID, ("#device", ED, spelled(STRANGER)), **more), issuer, key, kind=kind))


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "squatted: no signature": (
        lambda: on_chain(document(OWNER_DID, ("#device", ED, spelled(STRANGER)))),
        "document_unsigned",
    ),
    "hijacked: signed by the stranger": (
        lambda: with_signer(did_key(STRANGER.public), STRANGER, ED),
        "document_signer_unknown",
    ),
    "signed by an issuer who is not trusted": (
        lambda: with_signer(did_key(DEVICE.public), DEVICE, ED),
        "document_signer_unknown",
    ),
    "the signature of another document": (stolen_signature, "document_forged"),
    "an issuer's signature over the bare address": (peaqs_own_signature, "document_unsigned"),
    "the type says another algorithm": (
        lambda: with_signer(ISSUER_DID, ISSUER, ED).replace(ED.encode().hex().encode(), SR.encode().hex().encode()),
        "document_forged",
    ),
    "about another DID": (
        lambda: with_signer(ISSUER_DID, ISSUER, ED, about=did_peaq(substrate_account(STRANGER.public)).text),
        "document_about_another",
    ),
    "about nobody": (lambda: with_signer(ISSUER_DID, ISSUER, ED, about="nobody"), "document_about_another"),
    "not listed for authentication": (
        lambda: with_signer(ISSUER_DID, ISSUER, ED, listed=[]),
        "key_not_for_authentication",
    ),
    "truncated": (lambda: with_signer(ISSUER_DID, ISSUER, ED)[:-20], "document_damaged"),
    "a megabyte": (lambda: b"0a" * 500_000, "document_damaged"),
    "empty": (lambda: b"", "document_damaged"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_stranger_does_not_get_in_by_what_stands_on_the_chain(case: str) -> None:
    make, expected = HOSTILE[case]
    trust = Trust(issuers=frozenset({ISSUER_DID}))
    assert rule(decide(make(), signed_by(STRANGER), trust=trust)) == expected


def test_a_document_whose_signature_has_run_out_counts_for_nothing() -> None:
    made = sign(document(OWNER_DID, DEVICE_KEY), OWNER_DID, OWNER, kind=SR, until_s=int(NOW_S))
    assert rule(decide(on_chain(made), signed_by(DEVICE))) == "proven by document"
    assert rule(decide(on_chain(made), signed_by(DEVICE), now_s=NOW_S + 1)) == "document_signature_expired"
    until = str(int(NOW_S))
    made.signature.hash = made.signature.hash.replace(until, str(int(NOW_S) + 100))
    assert rule(decide(on_chain(made), signed_by(DEVICE), now_s=NOW_S + 1)) == "document_forged"


@pytest.mark.parametrize(("validity", "expected"), [(999, "entry_expired"), (1000, "proven by document")])
def test_an_entry_holds_to_the_end_of_its_last_block(validity: int, expected: str) -> None:
    found = judge(
        OWNER_DID,
        reading(owned(DEVICE_KEY), validity=validity),
        signed_by(DEVICE),
        CHALLENGE,
        trust=Trust(),
        now_s=NOW_S,
    )
    assert rule(found) == expected
    by_subject = prove(OWNER_DID, OWNER, CHALLENGE)
    found = judge(OWNER_DID, reading(b"", validity=validity), by_subject, CHALLENGE, trust=Trust(), now_s=NOW_S)
    assert rule(found) == expected.replace("document", "subject")


@pytest.mark.parametrize(("stated", "other"), [("ed25519", "sr25519"), ("sr25519", "ed25519")])
def test_a_key_of_one_algorithm_is_not_taken_for_one_of_another(stated: Algorithm, other: Algorithm) -> None:
    """Hex digits do not say of which algorithm they are: the document's type does, and the proof must agree."""
    device = SigningKey.generate(stated)
    honest = owned(("#device", TYPES[stated], device.public.raw.hex()))
    confused = owned(("#device", TYPES[other], device.public.raw.hex()))
    proof = signed_by(device)
    claimed = Proof(algorithm=other, signature=proof.signature, public_key=device.public.raw)
    assert rule(decide(honest, proof)) == "proven by document"
    assert rule(decide(honest, claimed)) == "key_of_other_algorithm"
    assert rule(decide(confused, proof)) == "key_of_other_algorithm"
    assert rule(decide(confused, claimed)) == "not_signed_by_document_key"
    contradictory = owned(("#device", TYPES[other], spelled(device)))
    assert rule(decide(contradictory, proof)) == "no_readable_key"


def test_the_subjects_account_is_not_taken_for_a_key_of_another_algorithm() -> None:
    proof = prove(OWNER_DID, OWNER, CHALLENGE)
    confused = Proof(algorithm="ed25519", signature=proof.signature)
    assert rule(decide(owned(), confused)) == "no_readable_key"


@pytest.mark.parametrize(
    "text", ["", "z", "z0OIl", "0x12", "eip155:1:0x12", f"z{base58.encode(bytes(35))}", "x" * 5000]
)
def test_a_key_that_cannot_be_read_is_passed_over(text: str) -> None:
    value = owned(("#broken", ED, text), ("#typeless", "JsonWebKey2020", spelled(STRANGER)), DEVICE_KEY)
    assert rule(decide(value, signed_by(DEVICE))) == "proven by document"
    assert rule(decide(value, signed_by(STRANGER))) == "not_signed_by_document_key"


@given(st.data())
def test_no_changed_document_lets_a_stranger_in(data: st.DataObject) -> None:
    whole = bytearray(bytes.fromhex(owned(("#device", ED, spelled(DEVICE))).decode()))
    stranger = spelled(STRANGER).encode()
    at = bytes(whole).index(spelled(DEVICE).encode())
    whole[at : at + len(stranger)] = stranger
    for _ in range(data.draw(st.integers(0, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    assert isinstance(decide(bytes(whole).hex().encode(), signed_by(STRANGER)), Refusal)


@given(st.data())
def test_no_changed_proof_is_taken(data: st.DataObject) -> None:
    proof = signed_by(DEVICE)
    signature = bytearray(proof.signature)
    at = data.draw(st.integers(0, len(signature) - 1))
    signature[at] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(signature)))
    algorithm: Algorithm = data.draw(st.sampled_from(sorted(TYPES)))
    changed = Proof(algorithm=algorithm, public_key=proof.public_key, signature=bytes(signature[:cut]))
    assert isinstance(decide(owned(DEVICE_KEY), changed), Refusal)


@pytest.mark.parametrize(("did", "key"), subjects(), ids=["ed25519", "sr25519", "ecdsa", "evm"])
def test_a_document_that_is_signed_here_is_taken_here_and_read_by_protobuf(did: Did, key: SigningKey) -> None:
    method = VerificationMethod(id="#device", type=ED, controller=did.text, public_key_multibase=spelled(DEVICE))
    made = Document(id=did.text, controller=did.text, methods=(method,), authentication=("#device",))
    signed = sign_document(made, did, key, until_s=int(NOW_S) + 60)
    value = encode_document(signed).hex().encode()
    assert decode_document(value) == signed
    assert rule(decide(value, signed_by(DEVICE), did=did)) == "proven by document"


def test_every_rule_can_be_shown_without_a_proof() -> None:
    shown = {
        check.name: check.refusal and check.refusal.rule
        for check in check_all(
            OWNER_DID,
            reading(on_chain(document(OWNER_DID, about="did:key:nobody")), validity=1),
            trust=Trust(),
            now_s=NOW_S,
        )
    }
    assert shown == {
        "entry on the chain": "entry_expired",
        "document": None,
        "about this DID": "document_about_another",
        "signature of the document": "document_unsigned",
        "keys for authentication": "no_readable_key",
    }
    assert [
        check.refusal for check in check_all(OWNER_DID, reading(owned(DEVICE_KEY)), trust=Trust(), now_s=NOW_S)
    ] == ([None] * 5)
