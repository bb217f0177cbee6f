"""A device's word for the certificate that it shows on links to other devices: signed with the key of its DID.

Only the subject's own key counts, as in ``mesh.identity.subject_proof``: who checks a link asks no chain.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Final, get_args

from mesh.errors import InvalidDid
from mesh.identity.did import parse_did
from mesh.identity.keys import Algorithm
from mesh.identity.subject_proof import Proof, prove, subject_signed
from streams.devices.link_identity import LinkIdentity

if TYPE_CHECKING:
    from mesh.identity.did import Did
    from mesh.identity.keys import SigningKey

_PURPOSE: Final = b"ig3-shard-link-v1\0"
_ALGORITHMS: Final[dict[str, Algorithm]] = {name: name for name in get_args(Algorithm)}


def sign_link(did: Did, key: SigningKey, node: str, certificate: bytes) -> LinkIdentity:
    """Sign for a certificate (DER) that a node shows.

    Raises:
        InvalidKey: if the key is not that of the DID.
    """
    proof = prove(did, key, _message(node, certificate))
    return LinkIdentity(
        node=node,
        did=did.text,
        certificate_base64=_text(certificate),
        algorithm=proof.algorithm,
        signature_base64=_text(proof.signature),
        public_key_base64=None if proof.public_key is None else _text(proof.public_key),
    )


def is_bound(identity: LinkIdentity) -> bool:
    """Whether the subject of the DID has signed for the certificate as that node's. Malformed is False."""
    algorithm = _ALGORITHMS.get(identity.algorithm)
    if algorithm is None:
        return False
    stated = identity.public_key_base64
    try:
        subject = parse_did(identity.did)
        signature = base64.b64decode(identity.signature_base64, validate=True)
        public_key = None if stated is None else base64.b64decode(stated, validate=True)
    except (InvalidDid, binascii.Error, ValueError):
        return False
    proof = Proof(algorithm=algorithm, public_key=public_key, signature=signature)
    return subject_signed(subject, proof, _message(identity.node, identity.certificate))


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _message(node: str, certificate: bytes) -> bytes:
    # A digest has a fixed length, and a node's name no zero byte: no two pairs make the same message.
    return _PURPOSE + hashlib.sha256(certificate).digest() + node.encode()
