"""Base58 as Bitcoin writes it (base58btc in multibase, whose sign ``z`` is not part of it)."""

from __future__ import annotations

from typing import Final

from mesh.errors import InvalidEncoding

_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUES: Final = {character: value for value, character in enumerate(_ALPHABET)}
_BASE: Final = len(_ALPHABET)

MAX_CHARACTERS: Final = 128
"""Keys and accounts take 60 at most. The work grows with the square of the length, so more is not even looked at."""

_MAX_BYTES: Final = 90


def encode(raw: bytes) -> str:
    """Write bytes in base58.

    Raises:
        InvalidEncoding: if there are more than fit into MAX_CHARACTERS.
    """
    if len(raw) > _MAX_BYTES:
        raise InvalidEncoding(f"{len(raw)} bytes are too many for base58 here: {_MAX_BYTES} at most")
    number = int.from_bytes(raw, "big")
    digits: list[str] = []
    while number:
        number, digit = divmod(number, _BASE)
        digits.append(_ALPHABET[digit])
    zeros = len(raw) - len(raw.lstrip(b"\0"))
    return _ALPHABET[0] * zeros + "".join(reversed(digits))


def decode(text: str) -> bytes:
    """Read bytes from base58. Every text that is accepted is the one that ``encode`` gives for them.

    Raises:
        InvalidEncoding: if it is longer than MAX_CHARACTERS, or has a character that is not of base58.
    """
    if len(text) > MAX_CHARACTERS:
        raise InvalidEncoding(f"{len(text)} characters are too many for a key or an account in base58")
    number = 0
    for character in text:
        value = _VALUES.get(character)
        if value is None:
            raise InvalidEncoding(f"{character!r} is not a character of base58")
        number = number * _BASE + value
    zeros = len(text) - len(text.lstrip(_ALPHABET[0]))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
