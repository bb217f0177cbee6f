"""Signatures of documents: who says that the keys in a document are its subject's.

The chain does not care who writes a document, so this is what a key in one rests on. The `hash` of a document's
signature is here ``ig3-1.<until>.<signature>``, and ``.<public key>`` where an account is only the hash of its key:
`until` in seconds since 1970, the others in hex. Signed is ``ig3-did-document-v1``, the type, the issuer and `until`,
each on a line, and then all bytes of the document but its signature. peaq's own examples sign the bare address, which
anybody can move into a document with other keys: such signatures count for nothing here.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Final, Literal

from mesh.errors import InvalidDid
from mesh.identity.did import parse_did
from mesh.identity.multikey import METHOD_ALGORITHMS
from mesh.identity.peaq.document import Document, DocumentSignature, encode_unsigned
from mesh.identity.subject_proof import Proof, prove, subject_signed

if TYPE_CHECKING:
    from mesh.identity.did import Did
    from mesh.identity.keys import SigningKey

SignatureFault = Literal[
    "document_unsigned", "document_signer_unknown", "document_signature_expired", "document_forged"
]

_HASH: Final = re.compile(r"ig3-1\.([0-9]{1,12})\.([0-9a-f]{128}(?:[0-9a-f]{2})?)(?:\.([0-9a-f]{66}))?")
_REMEMBERED: Final = 512
_TYPES: Final = {algorithm: name for name, algorithm in METHOD_ALGORITHMS.items()}


def sign_document(document: Document, issuer: Did, key: SigningKey, *, until_s: int) -> Document:
    """Sign a document as its subject or as an issuer; until ``until_s`` it may be shown to anybody.

    Raises:
        InvalidKey: if the key is not the issuer's.
    """
    unsigned = document.unsigned or encode_unsigned(document)
    kind = _TYPES[key.public.algorithm]
    proof = prove(issuer, key, _signed(kind, issuer, until_s, unsigned))
    parts = ["ig3-1", str(until_s), proof.signature.hex(), *([proof.public_key.hex()] if proof.public_key else [])]
    return Document(
        id=document.id,
        controller=document.controller,
        methods=document.methods,
        services=document.services,
        authentication=document.authentication,
        signature=DocumentSignature(type=kind, issuer=issuer.text, hash=".".join(parts)),
        unsigned=unsigned,
    )


def signature_fault(document: Document, signers: frozenset[Did], *, now_s: float) -> SignatureFault | None:
    """Return what is wrong with a document's signature; None: one of ``signers`` signed all of it, and it holds."""
    signature = document.signature
    parts = None if signature is None else _HASH.fullmatch(signature.hash)
    algorithm = None if signature is None else METHOD_ALGORITHMS.get(signature.type)
    if signature is None or parts is None or algorithm is None:
        return "document_unsigned"
    issuer = _did(signature.issuer)
    if issuer is None or issuer not in signers:
        return "document_signer_unknown"
    until_s, stated = int(parts[1]), parts[3]
    proof = Proof(
        algorithm=algorithm,
        public_key=None if stated is None else bytes.fromhex(stated),
        signature=bytes.fromhex(parts[2]),
    )
    if not _is_genuine(issuer, proof, _signed(signature.type, issuer, until_s, document.unsigned)):
        return "document_forged"
    return "document_signature_expired" if until_s < now_s else None


@functools.lru_cache(maxsize=_REMEMBERED)
def _is_genuine(issuer: Did, proof: Proof, signed: bytes) -> bool:
    """Whether the issuer signed it. A document comes again at every login of its subject."""
    return subject_signed(issuer, proof, signed)


def _signed(kind: str, issuer: Did, until_s: int, unsigned: bytes) -> bytes:
    return f"ig3-did-document-v1\n{kind}\n{issuer}\n{until_s}\n".encode() + unsigned


def _did(text: str) -> Did | None:
    try:
        return parse_did(text)
    except InvalidDid:
        return None
