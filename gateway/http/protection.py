"""Headers by which a browser protects whoever reads an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_ALWAYS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # An answer of the API is no page: opened as one, it runs and loads nothing, and stands in no frame.
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
}
_BY_TLS_ONLY: Final = {
    # A year, for this name and not for those below it: who runs others there may not want it.
    "Strict-Transport-Security": "max-age=31536000",
}


def protection(*, by_tls: bool) -> Mapping[str, str]:
    """Return what every answer has, unless it says better itself. Without TLS a browser must not be told to want it."""
    return _ALWAYS | _BY_TLS_ONLY if by_tls else _ALWAYS
