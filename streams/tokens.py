"""Names that are safe inside a NATS subject.

Every part of a subject that comes from outside passes through here, so that no model name, account or id can
add a dot, a wildcard or a space to a subject.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Final, NewType

from streams.errors import InvalidToken

Token = NewType("Token", str)
"""A string that matches ``^[A-Za-z0-9_-]{1,64}$``: one whole subject token."""

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ENCODED: Final = "x-"
_HASHED: Final = "h-"
_MAX_LENGTH: Final = 64


def token(text: str) -> Token:
    """Check that ``text`` can stand in a subject as it is.

    Raises:
        InvalidToken: if it cannot; nothing is ever silently replaced.
    """
    if _TOKEN.fullmatch(text) is None:
        shown = text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}…"
        raise InvalidToken(f"{shown!r} is not a subject token: use 1 to 64 of A-Z a-z 0-9 _ -")
    return Token(text)


def is_token(text: str) -> bool:
    """Whether ``token`` would take it."""
    return _TOKEN.fullmatch(text) is not None


def encode_name(name: str) -> Token:
    """Encode a free-text name (a model, say) as one token: distinct names get distinct tokens.

    A name that is a token already stays readable, unless it begins like an encoded one. Others become ``x-`` and
    base32hex of their UTF-8, or ``h-`` and a SHA-256 where that would exceed 64 characters.

    Raises:
        InvalidToken: if the name is not valid Unicode (a lone surrogate out of a JSON escape): no event can hold it.
    """
    if _TOKEN.fullmatch(name) and not name.startswith((_ENCODED, _HASHED)):
        return Token(name)
    try:
        raw = name.encode()
    except UnicodeEncodeError as error:
        raise InvalidToken(f"a name holds half a character: {error}") from error
    encoded = base64.b32hexencode(raw).decode().rstrip("=").lower()
    if len(_ENCODED) + len(encoded) <= _MAX_LENGTH:
        return Token(_ENCODED + encoded)
    return Token(_HASHED + hashlib.sha256(raw).hexdigest()[: _MAX_LENGTH - len(_HASHED)])
