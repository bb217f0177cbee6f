"""The document that a subject writes about itself: its own key, and those of its devices, all for authentication."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mesh.errors import InvalidDid
from mesh.identity.accounts import EvmAccount
from mesh.identity.keys import PublicKey
from mesh.identity.multikey import METHOD_ALGORITHMS, encode_multikey
from mesh.identity.peaq.document import Document, VerificationMethod

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mesh.identity.did import Did

_TYPES: Final = {algorithm: name for name, algorithm in METHOD_ALGORITHMS.items()}
_EVM_CHAIN: Final = "eip155:3338"


def own_document(did: Did, key: PublicKey, others: Sequence[Did] = ()) -> Document:
    """Compose the document of a `did:peaq`, unsigned.

    Args:
        did: whom it is about.
        key: the subject's own.
        others: further keys, each as the `did:key` or the EVM `did:pkh` that it would be by itself.

    Raises:
        InvalidDid: if the DID is of another method, or one of the others does not say which key it is.
    """
    if did.method != "peaq":
        raise InvalidDid(f"{did} has no document on the chain: only did:peaq has")
    own = did.subject if isinstance(did.subject, EvmAccount) else key
    methods = tuple(_method(did, number, one) for number, one in enumerate((own, *map(_key, others)), start=1))
    names = tuple(method.id for method in methods)
    return Document(id=did.text, controller=did.text, methods=methods, authentication=names)


def _key(other: Did) -> PublicKey | EvmAccount:
    if isinstance(other.subject, PublicKey | EvmAccount) and other.method != "peaq":
        return other.subject
    raise InvalidDid(f"{other} does not say which key it is: give a did:key, or a did:pkh of an EVM account")


def _method(did: Did, number: int, key: PublicKey | EvmAccount) -> VerificationMethod:
    is_account = isinstance(key, EvmAccount)
    return VerificationMethod(
        id=f"#key-{number}",
        type=_TYPES["secp256k1" if is_account else key.algorithm],
        controller=did.text,
        public_key_multibase=f"{_EVM_CHAIN}:{key}" if is_account else encode_multikey(key),
    )
