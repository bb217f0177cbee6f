"""Whether the subject of a DID signed a message, by its own key alone: no document and no chain is asked.

A document on a chain proves nothing by itself, because anybody may write one about anybody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from mesh.errors import InvalidKey
from mesh.identity.accounts import EvmAccount, SubstrateAccount, evm_account, substrate_account
from mesh.identity.evm import recover_personal_sign, sign_personal
from mesh.identity.keys import Algorithm, PublicKey, verify

if TYPE_CHECKING:
    from mesh.identity.did import Did
    from mesh.identity.keys import SigningKey

_WRAPPED: Final = b"<Bytes>%b</Bytes>"
"""How wallets of Substrate chains mark what is no transaction, so that no site gets one signed unnoticed."""


class Proof(Struct, frozen=True, kw_only=True):
    """A signature, and what its maker says about the key. Nothing in it is trusted."""

    algorithm: Algorithm
    public_key: bytes | None = None
    """Needed where the DID holds only the hash of a key: a Substrate account with an ECDSA key."""
    signature: bytes


def subject_signed(did: Did, proof: Proof, message: bytes) -> bool:
    """Whether the subject's own key made the proof over the message. Malformed is False, never an error.

    The algorithm is the one that the proof states, never tried out: the same 32 bytes may be a key of ed25519 and of
    sr25519. A key that the proof states must be the subject's, also where it is not needed.
    """
    try:
        stated = None if proof.public_key is None else PublicKey(proof.algorithm, proof.public_key)
        match did.subject:
            case PublicKey() as key:
                return (
                    proof.algorithm == key.algorithm and stated in (None, key) and verify(key, message, proof.signature)
                )
            case EvmAccount() as account:
                return _evm_signed(account, stated, proof, message)
            case SubstrateAccount() as account:
                return _substrate_signed(account, stated, proof, message)
    except InvalidKey:
        return False


def is_key_of(did: Did, key: PublicKey) -> bool:
    """Whether a key is the subject's own, so that what it signs is the subject's word.

    Raises:
        InvalidKey: if it is no point of secp256k1 where the subject is an EVM account.
    """
    match did.subject:
        case PublicKey() as subject:
            return subject == key
        case SubstrateAccount() as subject:
            return subject == substrate_account(key)
        case EvmAccount() as subject:
            return key.algorithm == "secp256k1" and subject == evm_account(key)


def prove(did: Did, key: SigningKey, message: bytes) -> Proof:
    """Sign a message as the subject of a DID, in the way that ``subject_signed`` checks.

    Raises:
        InvalidKey: if the key is not the subject's.
    """
    public = key.public
    if not is_key_of(did, public):
        raise InvalidKey(f"this key of {public.algorithm} is not that of {did}")
    signature = sign_personal(key, message) if isinstance(did.subject, EvmAccount) else key.sign(message)
    is_hashed = isinstance(did.subject, SubstrateAccount) and public.algorithm == "secp256k1"
    return Proof(algorithm=public.algorithm, public_key=public.raw if is_hashed else None, signature=signature)


def _evm_signed(account: EvmAccount, stated: PublicKey | None, proof: Proof, message: bytes) -> bool:
    if proof.algorithm != "secp256k1" or (stated is not None and evm_account(stated) != account):
        return False
    return recover_personal_sign(message, proof.signature) == account.address


def _substrate_signed(account: SubstrateAccount, stated: PublicKey | None, proof: Proof, message: bytes) -> bool:
    # For ECDSA the account is no key: 32 bytes are refused as one.
    key = PublicKey(proof.algorithm, account.account) if stated is None else stated
    if substrate_account(key) != account:
        return False
    return any(verify(key, signed, proof.signature) for signed in (message, _WRAPPED % message))
