"""NATS user keys (nkeys): an Ed25519 key written as base32 with a type prefix and a checksum.

The spec is the package ``nkeys`` of nats-io, which is the oracle of the tests; it has no types and ignores checksums.
"""

from __future__ import annotations

import base64
import binascii
import os
from typing import Final

from nacl.signing import SigningKey

_SEED: Final = 18 << 3
_USER: Final = 20 << 3
_HEADER: Final = bytes([_SEED | _USER >> 5, (_USER & 31) << 3])
_SEED_BYTES: Final = 32
_CHECKSUM_BYTES: Final = 2


def new_user_seed() -> str:
    """Make the secret seed (``SU…``) of a fresh user."""
    return _encode(_HEADER + os.urandom(_SEED_BYTES))


def public_key_of(seed: str) -> str:
    """Derive the public key (``U…``) of a user's seed.

    Raises:
        ValueError: if it is not the seed of a user, or its checksum does not fit; the text never shows the seed.
    """
    try:
        raw = base64.b32decode(seed + "=" * (-len(seed) % 8))
    except binascii.Error:
        raise ValueError("not base32") from None
    body, checksum = raw[:-_CHECKSUM_BYTES], raw[-_CHECKSUM_BYTES:]
    if not body.startswith(_HEADER) or len(body) != len(_HEADER) + _SEED_BYTES:
        raise ValueError("not the seed of a user")
    if _checksum(body) != checksum:
        raise ValueError("the checksum does not fit")
    key = SigningKey(body[len(_HEADER) :]).verify_key
    return _encode(bytes([_USER]) + bytes(key))


def _encode(body: bytes) -> str:
    return base64.b32encode(body + _checksum(body)).decode().rstrip("=")


def _checksum(body: bytes) -> bytes:
    """CRC-16/XMODEM, low byte first."""
    return binascii.crc_hqx(body, 0).to_bytes(_CHECKSUM_BYTES, "little")
