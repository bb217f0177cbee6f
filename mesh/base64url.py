"""The parts of a JWT as text: base64url without padding (RFC 7515, section 2)."""

from __future__ import annotations

import base64


def write_base64url(raw: bytes) -> bytes:
    """Write bytes as JWTs have them."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=")
