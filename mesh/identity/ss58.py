"""SS58: how Substrate chains write an account, with the number of the network and a checksum.

Source: the page "SS58 Address Format" of the Substrate documentation. Only accounts of 32 bytes are read.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

from mesh.errors import InvalidEncoding
from mesh.identity import base58

SUBSTRATE: Final = 42
"""The prefix of no network in particular, which peaq uses too."""

ACCOUNT_BYTES: Final = 32

_CONTEXT: Final = b"SS58PRE"
_CHECKSUM_BYTES: Final = 2
_ONE_BYTE: Final = 64
_TWO_BYTES: Final = 1 << 14


class Address(NamedTuple):
    """What an SS58 text says."""

    account: bytes
    prefix: int
    """The number of the network."""


def encode(account: bytes, prefix: int = SUBSTRATE) -> str:
    """Write an account of 32 bytes for the network ``prefix``.

    Raises:
        InvalidEncoding: if the account has another length, or there can be no such network.
    """
    if len(account) != ACCOUNT_BYTES:
        raise InvalidEncoding(f"an account has {ACCOUNT_BYTES} bytes, this has {len(account)}")
    body = _prefix_bytes(prefix) + account
    return base58.encode(body + _checksum(body))


def decode(text: str) -> Address:
    """Read an account of 32 bytes and the number of its network.

    Raises:
        InvalidEncoding: if the text is not base58, the checksum does not fit, or it is no account of 32 bytes.
    """
    raw = base58.decode(text)
    width = 2 if raw and raw[0] >= _ONE_BYTE else 1
    if len(raw) != width + ACCOUNT_BYTES + _CHECKSUM_BYTES:
        raise InvalidEncoding(f"{text!r} is not the SS58 address of an account of {ACCOUNT_BYTES} bytes")
    body, checksum = raw[:-_CHECKSUM_BYTES], raw[-_CHECKSUM_BYTES:]
    if _checksum(body) != checksum:
        raise InvalidEncoding(f"{text!r} is damaged: the checksum of this SS58 address does not fit")
    prefix = _prefix(body[:width])
    if _prefix_bytes(prefix) != body[:width]:
        raise InvalidEncoding(f"{text!r} does not write the number of its network as SS58 does")
    return Address(body[width:], prefix)


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(_CONTEXT + body).digest()[:_CHECKSUM_BYTES]


def _prefix_bytes(prefix: int) -> bytes:
    if 0 <= prefix < _ONE_BYTE:
        return bytes([prefix])
    if _ONE_BYTE <= prefix < _TWO_BYTES:
        # Bits 2 to 7 come first, after the mark 01; then the two lowest, then the six highest.
        return bytes([prefix >> 2 & 0x3F | 0x40, prefix >> 8 | (prefix & 3) << 6])
    raise InvalidEncoding(f"there can be no network {prefix} in SS58: use 0 to {_TWO_BYTES - 1}")


def _prefix(raw: bytes) -> int:
    if len(raw) == 1:
        return raw[0]
    first, second = raw
    if first >= 2 * _ONE_BYTE:
        raise InvalidEncoding("an SS58 address does not begin with a byte above 127")
    return (first & 0x3F) << 2 | second >> 6 | (second & 0x3F) << 8
