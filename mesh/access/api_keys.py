"""API keys as their holders have them: ``ig3_<key id>_<secret>``. Stored is only the SHA-256 of the secret.

The secret has 256 random bits, so one round of SHA-256 is enough: there is nothing to guess.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from typing import Final

from msgspec import Struct

PREFIX: Final = "ig3_"
"""How every key begins, so that one that leaked can be found."""

_ID_BYTES: Final = 8
_SECRET_BYTES: Final = 32
_SHAPE: Final = re.compile(r"ig3_([a-z2-7]{13})_([a-z2-7]{52})")


class ShownKey(Struct, frozen=True, kw_only=True):
    """A key with its secret, for the moment in which it is shown."""

    key_id: str
    secret: str

    @property
    def text(self) -> str:
        """The whole key, as its holder keeps it."""
        return f"{PREFIX}{self.key_id}_{self.secret}"

    @property
    def digest(self) -> str:
        """What is stored of it: SHA-256 of the secret, in hex."""
        return hashlib.sha256(self.secret.encode()).hexdigest()

    def __repr__(self) -> str:
        """Name it without its secret."""
        return f"ShownKey(key_id={self.key_id!r})"


def new_key() -> ShownKey:
    """Make a key that nobody has."""
    return ShownKey(key_id=_random(_ID_BYTES), secret=_random(_SECRET_BYTES))


def parse_key(text: str) -> ShownKey | None:
    """Take a key apart; None if it is none."""
    found = _SHAPE.fullmatch(text)
    return None if found is None else ShownKey(key_id=found[1], secret=found[2])


def _random(size: int) -> str:
    return base64.b32encode(secrets.token_bytes(size)).decode().rstrip("=").lower()
