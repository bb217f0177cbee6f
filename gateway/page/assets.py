"""The page's files, read into memory at start: a request picks from what was found then and names no path."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Final

from msgspec import Struct

STATIC: Final = Path(__file__).with_name("static")

CONTENT_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
}
"""What the page is made of; a file of any other kind is not served."""

_INLINE_SCRIPT: Final = re.compile(rb"<script[^>]*>(.+?)</script>", re.DOTALL)


class Asset(Struct, frozen=True, kw_only=True):
    """One file as it is served."""

    body: bytes
    content_type: str
    etag: str
    """Of the content, so that a browser keeps what did not change from one release to the next."""


def load(folder: Path = STATIC) -> dict[str, Asset]:
    """Read all files of a folder, by their path inside it."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix in CONTENT_TYPES)
    return {path.relative_to(folder).as_posix(): _asset(path) for path in files}


def content_security_policy(page: bytes) -> str:
    """Allow what the page's own origin serves, and inline only the scripts that stand in ``page`` (its import map).

    Nothing else: no script that a model's answer could smuggle in would run, and nothing could be sent elsewhere.
    """
    inline = " ".join(f"'sha256-{_digest(script)}'" for script in _INLINE_SCRIPT.findall(page))
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self' {inline}".rstrip(),
            "style-src 'self'",
            "font-src 'self'",
            "img-src 'self' data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def _asset(path: Path) -> Asset:
    body = path.read_bytes()
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return Asset(body=body, content_type=CONTENT_TYPES[path.suffix], etag=etag)


def _digest(script: bytes) -> str:
    return base64.b64encode(hashlib.sha256(script).digest()).decode()
