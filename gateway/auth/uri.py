"""URIs and authorities as RFC 3986 writes them, checked letter by letter: a wallet shows them to its owner."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

_UNRESERVED: Final = r"A-Za-z0-9\-._~"
_SUB_DELIMS: Final = r"!$&'()*+,;="
_PCT: Final = r"%[0-9A-Fa-f]{2}"
_PCHAR: Final = rf"(?:[{_UNRESERVED}{_SUB_DELIMS}:@]|{_PCT})"
_AUTHORITY: Final = (
    rf"(?:(?:[{_UNRESERVED}{_SUB_DELIMS}:]|{_PCT})*@)?"
    rf"(?:\[(?P<literal>[^\[\]]*)\]|(?:[{_UNRESERVED}{_SUB_DELIMS}]|{_PCT})*)"
    r"(?::[0-9]*)?"
)
_SCHEME: Final = r"[A-Za-z][A-Za-z0-9+\-.]*"
_URI: Final = re.compile(
    rf"{_SCHEME}:"
    rf"(?://{_AUTHORITY}(?:/{_PCHAR}*)*|/(?:{_PCHAR}+(?:/{_PCHAR}*)*)?|{_PCHAR}+(?:/{_PCHAR}*)*|)"
    rf"(?:\?(?:{_PCHAR}|[/?])*)?"
    rf"(?:#(?:{_PCHAR}|[/?])*)?"
)
_WHOLE_AUTHORITY: Final = re.compile(_AUTHORITY)
_WHOLE_SCHEME: Final = re.compile(_SCHEME)
_PCHARS: Final = re.compile(rf"{_PCHAR}*")
_IP_FUTURE: Final = re.compile(rf"[vV][0-9A-Fa-f]+\.[{_UNRESERVED}{_SUB_DELIMS}:]+")


def is_uri(text: str) -> bool:
    """Whether a text is a URI with its scheme."""
    found = _URI.fullmatch(text)
    return found is not None and _is_ip_literal(found["literal"])


def is_authority(text: str) -> bool:
    """Whether a text is a host that is not empty, perhaps with a port and a user before it."""
    found = _WHOLE_AUTHORITY.fullmatch(text)
    return bool(text) and found is not None and _is_ip_literal(found["literal"])


def is_scheme(text: str) -> bool:
    """Whether a text can stand before the colon of a URI."""
    return _WHOLE_SCHEME.fullmatch(text) is not None


def is_pchars(text: str) -> bool:
    """Whether a text is made of what a segment of a path is made of, or is empty."""
    return _PCHARS.fullmatch(text) is not None


def _is_ip_literal(text: str | None) -> bool:
    """Whether what stands in brackets is an address; None: nothing does."""
    if text is None or _IP_FUTURE.fullmatch(text):
        return True
    if "%" in text:
        return False
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
