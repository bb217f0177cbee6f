"""Accounts of chains, as what a DID can be about besides a key."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from msgspec import Struct

from mesh.errors import InvalidKey
from mesh.identity import evm, ss58

if TYPE_CHECKING:
    from mesh.identity.keys import PublicKey


class SubstrateAccount(Struct, frozen=True):
    """An account of a Substrate chain. Its 32 bytes are a key of ed25519 or sr25519, or the hash of an ECDSA key.

    They do not say which: whoever signs has to.
    """

    account: bytes

    def __post_init__(self) -> None:
        """Check the length.

        Raises:
            InvalidKey: if it is not 32 bytes.
        """
        if len(self.account) != ss58.ACCOUNT_BYTES:
            raise InvalidKey(f"an account has {ss58.ACCOUNT_BYTES} bytes, this has {len(self.account)}")

    def __str__(self) -> str:
        """Write it as SS58 of no network in particular."""
        return ss58.encode(self.account)


class EvmAccount(Struct, frozen=True):
    """An account of Ethereum and its like. Its address is the end of a hash of a secp256k1 key."""

    address: bytes

    def __post_init__(self) -> None:
        """Check the length.

        Raises:
            InvalidKey: if it is not 20 bytes.
        """
        if len(self.address) != evm.ADDRESS_BYTES:
            raise InvalidKey(f"an EVM account has {evm.ADDRESS_BYTES} bytes, this has {len(self.address)}")

    def __str__(self) -> str:
        """Write it with its checksum (EIP-55)."""
        return evm.checksum_address(self.address)


def substrate_account(key: PublicKey) -> SubstrateAccount:
    """Return the account that a key has on Substrate chains."""
    if key.algorithm == "secp256k1":
        return SubstrateAccount(hashlib.blake2b(key.raw, digest_size=ss58.ACCOUNT_BYTES).digest())
    return SubstrateAccount(key.raw)


def evm_account(key: PublicKey) -> EvmAccount:
    """Return the account that a key has on EVM chains.

    Raises:
        InvalidKey: if it is not of secp256k1.
    """
    return EvmAccount(evm.evm_address(key))
