"""ECDSA on secp256k1 over digests: what Substrate and Ethereum share; each has a hash of its own.

Only signatures with the lower of the two possible ``s`` count (EIP-2, BIP 62): the other could be made by anybody.
"""

from __future__ import annotations

from typing import Final

from coincurve import PrivateKey
from coincurve import PublicKey as Point

_ORDER: Final = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
_HALF_ORDER: Final = _ORDER // 2
_SCALAR_BYTES: Final = 32
_PLAIN: Final = 2 * _SCALAR_BYTES
_RECOVERABLE: Final = _PLAIN + 1
_ETHEREUM_OFFSET: Final = 27


def public_key_of(secret: bytes) -> bytes:
    """Derive the compressed public key.

    Raises:
        ValueError: if the secret is not a number from 1 to the order of the curve.
    """
    return Point.from_secret(secret).format()


def sign(secret: bytes, digest: bytes) -> bytes:
    """Sign a digest of 32 bytes: r, s and the recovery id 0 or 1."""
    key = PrivateKey(secret)
    return key.sign_recoverable(digest, hasher=None)  # pyright: ignore[reportUnknownMemberType] - cffi's types, unused


def verify(key: bytes, digest: bytes, signature: bytes) -> bool:
    """Check a signature of 64 bytes, or of 65 with a recovery id that must fit. Malformed is False."""
    if len(signature) == _RECOVERABLE:
        return recover(digest, signature) == key
    if not _is_low(signature) or len(signature) != _PLAIN:
        return False
    try:
        return Point(key).verify(_der(signature), digest, hasher=None)
    except ValueError:
        return False


def recover(digest: bytes, signature: bytes) -> bytes | None:
    """Return the compressed key that made a signature of 65 bytes; None if none did.

    The recovery id is 0 or 1, or with Ethereum's offset 27 or 28.
    """
    if len(signature) != _RECOVERABLE or not _is_low(signature):
        return None
    recovery = signature[-1] - _ETHEREUM_OFFSET if signature[-1] >= _ETHEREUM_OFFSET else signature[-1]
    if recovery not in (0, 1):
        return None
    plain = signature[:_PLAIN] + bytes([recovery])
    try:
        return Point.from_signature_and_message(plain, digest, hasher=None).format()
    except ValueError:
        return None


def _is_low(signature: bytes) -> bool:
    return 0 < int.from_bytes(signature[_SCALAR_BYTES:_PLAIN], "big") <= _HALF_ORDER


def _der(signature: bytes) -> bytes:
    """Write r and s in DER, which coincurve takes."""
    numbers = b"".join(_der_integer(part) for part in (signature[:_SCALAR_BYTES], signature[_SCALAR_BYTES:]))
    return b"\x30" + bytes([len(numbers)]) + numbers


def _der_integer(raw: bytes) -> bytes:
    short = raw.lstrip(b"\0")
    if not short or short[0] >= 0x80:
        short = b"\0" + short
    return b"\x02" + bytes([len(short)]) + short
