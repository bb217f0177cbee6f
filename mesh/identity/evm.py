"""Ethereum's accounts: addresses with their checksum (EIP-55) and messages signed by wallets (EIP-191)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from coincurve import PublicKey as Point
from Crypto.Hash import keccak

from mesh.errors import InvalidEncoding, InvalidKey
from mesh.identity import secp256k1

if TYPE_CHECKING:
    from mesh.identity.keys import PublicKey, SigningKey

ADDRESS_BYTES: Final = 20

_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}")
_PERSONAL: Final = b"\x19Ethereum Signed Message:\n"
_RECOVERY_OFFSET: Final = 27
_UPPER_FROM: Final = "8"


def evm_address(public_key: PublicKey) -> bytes:
    """Derive the address of a secp256k1 key: 20 bytes.

    Raises:
        InvalidKey: if the key is of another algorithm, or no point of the curve.
    """
    if public_key.algorithm != "secp256k1":
        raise InvalidKey(f"an EVM account has a key of secp256k1, not of {public_key.algorithm}")
    try:
        point = Point(public_key.raw).format(compressed=False)
    except ValueError:
        raise InvalidKey("these 33 bytes are no point of secp256k1") from None
    return _keccak(point[1:])[-ADDRESS_BYTES:]


def checksum_address(address: bytes) -> str:
    """Write an address in the letter case that is its checksum (EIP-55)."""
    lower = address.hex()
    digits = _keccak(lower.encode()).hex()
    return "0x" + "".join(
        one.upper() if digit >= _UPPER_FROM else one for one, digit in zip(lower, digits, strict=False)
    )


def parse_address(text: str) -> bytes:
    """Read an address. Letters of both cases are a checksum (EIP-55) that must fit; of one case they are none.

    Raises:
        InvalidEncoding: if it is no address, or the checksum does not fit.
    """
    if _ADDRESS.fullmatch(text) is None:
        raise InvalidEncoding(f"{text[:64]!r} is not the address of an EVM account: 0x and 40 hex digits")
    digits = text[2:]
    address = bytes.fromhex(digits)
    if digits not in (digits.lower(), digits.upper()) and checksum_address(address) != text:
        raise InvalidEncoding(f"{text!r} is damaged: its letter case, which is a checksum (EIP-55), does not fit")
    return address


def sign_personal(key: SigningKey, message: bytes) -> bytes:
    """Sign as wallets do for `personal_sign` (EIP-191, version 0x45): 65 bytes, the last is 27 or 28.

    Raises:
        InvalidKey: if the key is not of secp256k1.
    """
    if key.public.algorithm != "secp256k1":
        raise InvalidKey(f"an EVM account signs with secp256k1, not with {key.public.algorithm}")
    signature = secp256k1.sign(key.secret, _personal_digest(message))
    return signature[:-1] + bytes([signature[-1] + _RECOVERY_OFFSET])


def recover_personal_sign(message: bytes, signature: bytes) -> bytes | None:
    """Return the address whose key signed the message by `personal_sign`; None if the signature is none.

    A message and any well-formed signature give *some* address: the caller compares it with the one it expects.
    """
    key = secp256k1.recover(_personal_digest(message), signature)
    return None if key is None else _keccak(Point(key).format(compressed=False)[1:])[-ADDRESS_BYTES:]


def _personal_digest(message: bytes) -> bytes:
    return _keccak(_PERSONAL + str(len(message)).encode() + message)


def _keccak(data: bytes) -> bytes:
    return keccak.new(data=data, digest_bits=256).digest()
