"""NATS keys (nkeys): a 32-byte key written as base32 with a type prefix and a checksum.

The spec is the package ``nkeys`` of nats-io, which is the oracle of the tests; it has no types and ignores checksums.
"""

from __future__ import annotations

import base64
import binascii
import os
from enum import IntEnum
from typing import Final

from nacl.public import PrivateKey
from nacl.signing import SigningKey

_SEED: Final = 18 << 3
_KEY_BYTES: Final = 32
_CHECKSUM_BYTES: Final = 2


class KeyKind(IntEnum):
    """What a key is for; the value is the prefix byte of its public form."""

    USER = 20 << 3
    """Ed25519: who connects."""
    ACCOUNT = 0
    """Ed25519: who signs the rights of users."""
    CURVE = 23 << 3
    """X25519: whom a message is sealed for."""


def new_seed(kind: KeyKind = KeyKind.USER) -> str:
    """Make a fresh secret seed (``SU…``, ``SA…``, ``SX…``)."""
    return _encode(_seed_header(kind) + os.urandom(_KEY_BYTES))


def secret_of(seed: str, kind: KeyKind = KeyKind.USER) -> bytes:
    """Take the 32 secret bytes out of a seed.

    Raises:
        ValueError: if it is no seed of that kind, or its checksum does not fit; the text never shows the seed.
    """
    header = _seed_header(kind)
    body = _body(seed)
    if not body.startswith(header) or len(body) != len(header) + _KEY_BYTES:
        raise ValueError(f"not the seed of {_ARTICLE[kind]}")
    return body[len(header) :]


def public_key_of(seed: str, kind: KeyKind = KeyKind.USER) -> str:
    """Derive the public key (``U…``, ``A…``, ``X…``) of a seed.

    Raises:
        ValueError: if it is no seed of that kind, or its checksum does not fit; the text never shows the seed.
    """
    secret = secret_of(seed, kind)
    public = PrivateKey(secret).public_key if kind is KeyKind.CURVE else SigningKey(secret).verify_key
    return write_public(bytes(public), kind)


def write_public(raw: bytes, kind: KeyKind) -> str:
    """Write the 32 bytes of a public key as text."""
    return _encode(bytes([kind]) + raw)


def read_public(text: str, kind: KeyKind) -> bytes:
    """Take the 32 bytes out of a public key's text.

    Raises:
        ValueError: if it is no public key of that kind, or its checksum does not fit.
    """
    body = _body(text)
    if len(body) != 1 + _KEY_BYTES or body[0] != kind:
        raise ValueError(f"not the public key of {_ARTICLE[kind]}")
    return body[1:]


_ARTICLE: Final = {KeyKind.USER: "a user", KeyKind.ACCOUNT: "an account", KeyKind.CURVE: "a curve"}


def _seed_header(kind: KeyKind) -> bytes:
    return bytes([_SEED | kind >> 5, (kind & 31) << 3])


def _body(text: str) -> bytes:
    try:
        raw = base64.b32decode(text + "=" * (-len(text) % 8))
    except (binascii.Error, ValueError):
        raise ValueError("not base32") from None
    body, checksum = raw[:-_CHECKSUM_BYTES], raw[-_CHECKSUM_BYTES:]
    if _checksum(body) != checksum:
        raise ValueError("the checksum does not fit")
    return body


def _encode(body: bytes) -> str:
    return base64.b32encode(body + _checksum(body)).decode().rstrip("=")


def _checksum(body: bytes) -> bytes:
    """CRC-16/XMODEM, low byte first."""
    return binascii.crc_hqx(body, 0).to_bytes(_CHECKSUM_BYTES, "little")
