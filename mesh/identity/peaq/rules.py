"""What a DID, a document on the chain and a proof say together: who proved what, or which rule refuses.

Pure. Whoever signs may write any attribute for any account, so an entry on the chain is never more than a hint:

1. The challenge verifies under the subject's own key, the account within the DID. What the document says does not
   matter then, and junk that others wrote there cannot lock the subject out; the entry says that the DID is in use.
2. Or it verifies under a key that the document lists for authentication, and the subject or an issuer whom the
   operator trusts has signed the document.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from mesh.errors import InvalidDid, InvalidDocument, InvalidKey
from mesh.identity.accounts import EvmAccount
from mesh.identity.did import Did, Method, did_key, did_pkh, parse_did
from mesh.identity.multikey import read_multibase
from mesh.identity.peaq.document import Document, VerificationMethod, decode_document
from mesh.identity.peaq.signed_document import signature_fault
from mesh.identity.subject_proof import Proof, subject_signed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mesh.identity.peaq.connection import Entry, Reading

Rule = Literal[
    "method_not_accepted",
    "not_signed_by_subject",
    "not_on_chain",
    "entry_expired",
    "document_damaged",
    "document_about_another",
    "document_unsigned",
    "document_signer_unknown",
    "document_signature_expired",
    "document_forged",
    "no_readable_key",
    "key_of_other_algorithm",
    "key_not_for_authentication",
    "not_signed_by_document_key",
]
"""Why somebody is refused: for the operator. Who asked is told only that it was not proven."""

MEANING: Final[dict[Rule, str]] = {
    "method_not_accepted": "DIDs of this method are not accepted by this mesh",
    "not_signed_by_subject": "the challenge is not signed by the key in the DID",
    "not_on_chain": "the chain holds no entry for this DID",
    "entry_expired": "the entry on the chain is no longer valid",
    "document_damaged": "what the chain holds is no DID document",
    "document_about_another": "the document is about another DID",
    "document_unsigned": "the document carries no signature of the kind that covers all of it",
    "document_signer_unknown": "the document is signed by neither its subject nor an issuer trusted here",
    "document_signature_expired": "the document's signature has run out",
    "document_forged": "the document was changed after it was signed, or the signature is somebody else's",
    "no_readable_key": "the document lists no key for authentication that can be read",
    "key_of_other_algorithm": "the document's keys for authentication are of other algorithms than the proof",
    "key_not_for_authentication": "the challenge is signed by a key of the document that is not for authentication",
    "not_signed_by_document_key": "the challenge is signed neither by the key in the DID nor by one of its document",
}


class Trust(Struct, frozen=True, kw_only=True):
    """What the operator decided about DIDs on the chain."""

    issuers: frozenset[Did] = frozenset()
    """Whose signature on a document counts, besides the subject's own."""
    entry_required: bool = True
    """Whether a DID must have an entry on the chain also where its own key signs."""


class ResolverOptions(Struct, frozen=True, kw_only=True):
    """What the operator decided about DIDs."""

    methods: tuple[Method, ...] = ("key", "pkh")
    attribute: str
    trust: Trust = Trust()
    missing_s: float = 30.0
    """No refusal rests on a reading older than this."""


class Proven(Struct, frozen=True, kw_only=True):
    """The challenge is signed by a key that speaks for the DID."""

    how: Literal["subject", "document"]
    key_id: str = ""
    """Of the document's key, as the document names it."""


class Refusal(Struct, frozen=True, kw_only=True):
    """The rule that refuses, and the particulars, for the operator."""

    rule: Rule
    detail: str = ""

    def __str__(self) -> str:
        """Write it as one line."""
        return f"{self.rule}: {MEANING[self.rule]}{f' ({self.detail})' if self.detail else ''}"


class Check(Struct, frozen=True, kw_only=True):
    """One rule and how it turned out, for those who want to see all of them."""

    name: str
    refusal: Refusal | None


def judge(
    did: Did, reading: Reading, proof: Proof, message: bytes, *, is_subject: bool, trust: Trust, now_s: float
) -> Proven | Refusal:
    """Decide about the holder of a `did:peaq`. ``is_subject``: whether the DID's own key made the proof."""
    held = entry_of(reading)
    if is_subject:
        return held if isinstance(held, Refusal) and trust.entry_required else Proven(how="subject")
    if isinstance(held, Refusal):
        return held
    document = trusted_document(did, held, trust=trust, now_s=now_s)
    return document if isinstance(document, Refusal) else _judge_keys(document, proof, message)


def entry_of(reading: Reading) -> Entry | Refusal:
    """Return the entry, if there is one and it still holds."""
    if reading.entry is None:
        return Refusal(rule="not_on_chain")
    if reading.is_expired:
        return Refusal(rule="entry_expired", detail=f"it held to block {reading.entry.validity}, now {reading.block}")
    return reading.entry


def trusted_document(did: Did, entry: Entry, *, trust: Trust, now_s: float) -> Document | Refusal:
    """Return the document of an entry, if it is one, about this DID, and signed by somebody who may."""
    document = _document(entry)
    if isinstance(document, Refusal):
        return document
    return _is_of(document, did) or _is_vouched_for(document, did, trust, now_s) or document


def _judge_keys(document: Document, proof: Proof, message: bytes) -> Proven | Refusal:
    """Decide whether a key that the document lists for authentication signed the challenge. Its signature is checked.

    The algorithm is the one that the proof states and that the document states: the same 32 bytes may be a key of
    ed25519 and of sr25519.
    """
    keys = dict(_keys(document))
    listed = {method.id: key for method, key in keys.items() if _is_listed(document, method)}
    signer = next((method for method, key in keys.items() if subject_signed(key, proof, message)), None)
    if signer is not None and signer.id in listed:
        return Proven(how="document", key_id=signer.id)
    if signer is not None:
        return Refusal(rule="key_not_for_authentication", detail=repr(signer.id[:80]))
    if not listed:
        return Refusal(rule="no_readable_key")
    if all(_algorithm(key) != proof.algorithm for key in listed.values()):
        return Refusal(rule="key_of_other_algorithm", detail=f"the proof is of {proof.algorithm}")
    return Refusal(rule="not_signed_by_document_key")


def check_all(did: Did, reading: Reading, *, trust: Trust, now_s: float) -> tuple[Check, ...]:
    """Try every rule that needs no proof, in their order, as far as each makes sense."""
    held = entry_of(reading)
    checks = [Check(name="entry on the chain", refusal=held if isinstance(held, Refusal) else None)]
    if reading.entry is None:
        return tuple(checks)
    document = _document(reading.entry)
    if isinstance(document, Refusal):
        return (*checks, Check(name="document", refusal=document))
    has_key = any(_is_listed(document, method) for method, _ in _keys(document))
    return (
        *checks,
        Check(name="document", refusal=None),
        Check(name="about this DID", refusal=_is_of(document, did)),
        Check(name="signature of the document", refusal=_is_vouched_for(document, did, trust, now_s)),
        Check(name="keys for authentication", refusal=None if has_key else Refusal(rule="no_readable_key")),
    )


def _document(entry: Entry) -> Document | Refusal:
    try:
        return decode_document(entry.value)
    except InvalidDocument as error:
        return Refusal(rule="document_damaged", detail=str(error))


def _is_of(document: Document, did: Did) -> Refusal | None:
    try:
        is_about = parse_did(document.id) == did
    except InvalidDid:
        is_about = False
    return None if is_about else Refusal(rule="document_about_another", detail=repr(document.id[:80]))


def _is_vouched_for(document: Document, did: Did, trust: Trust, now_s: float) -> Refusal | None:
    fault = signature_fault(document, trust.issuers | {did}, now_s=now_s)
    return None if fault is None else Refusal(rule=fault)


def _keys(document: Document) -> Iterator[tuple[VerificationMethod, Did]]:
    """Each key that can be read, as a DID of its own."""
    for method in document.methods:
        try:
            key = read_multibase(method.public_key_multibase, method.type)
        except InvalidKey:
            continue
        # A chain's number is part of such a DID, but not of what the account can sign.
        yield method, did_pkh(key, "eip155:1") if isinstance(key, EvmAccount) else did_key(key)


def _is_listed(document: Document, method: VerificationMethod) -> bool:
    """Whether `authentication` names the method; both may be written with the document's DID before them or without."""
    name = method.id.removeprefix(document.id)
    return bool(name) and name in {reference.removeprefix(document.id) for reference in document.authentication}


def _algorithm(key: Did) -> str:
    return "secp256k1" if isinstance(key.subject, EvmAccount) else getattr(key.subject, "algorithm", "")
