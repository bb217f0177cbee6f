"""A node's signature for what it wrote in one attempt: made with the key of its DID, and checked against the DID.

Only the subject's own key counts, as in ``mesh.identity.subject_proof``: who checks an answer asks no chain.
"""

from __future__ import annotations

import base64
import binascii
from functools import lru_cache
from typing import TYPE_CHECKING, Final, get_args

from mesh.identity.did import Did, parse_did
from mesh.identity.keys import Algorithm
from mesh.identity.subject_proof import Proof, prove, subject_signed
from streams.events import ChunkSignature
from streams.tasks import chunk_chain

if TYPE_CHECKING:
    from mesh.identity.keys import SigningKey

_ALGORITHMS: Final[dict[str, Algorithm]] = {name: name for name in get_args(Algorithm)}
_KEPT_DIDS: Final = 4096


def sign_chunks(did: Did, key: SigningKey, head: bytes) -> ChunkSignature:
    """Sign for a chain that stands at ``head``.

    Raises:
        InvalidKey: if the key is not that of the DID.
    """
    proof = prove(did, key, chunk_chain.message(head))
    return ChunkSignature(
        algorithm=proof.algorithm,
        signature_base64=_text(proof.signature),
        public_key_base64=None if proof.public_key is None else _text(proof.public_key),
    )


def has_signed(did: str, signature: ChunkSignature, head: bytes) -> bool:
    """Whether the subject of a DID has signed for a chain that stands at ``head``. Malformed is False.

    Raises:
        InvalidDid: if there is no such DID.
    """
    subject, proof = _subject(did), _proof(signature)
    return proof is not None and subject_signed(subject, proof, chunk_chain.message(head))


def _proof(signature: ChunkSignature) -> Proof | None:
    algorithm, key = _ALGORITHMS.get(signature.algorithm), signature.public_key_base64
    if algorithm is None:
        return None
    try:
        raw = base64.b64decode(signature.signature_base64, validate=True)
        public_key = None if key is None else base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        return None
    return Proof(algorithm=algorithm, public_key=public_key, signature=raw)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


_subject: Final = lru_cache(_KEPT_DIDS)(parse_did)
