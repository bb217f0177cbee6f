"""Secrets in text: found by their shape, so that a log, an error or a dump never shows one."""

from __future__ import annotations

import re
from typing import Final

HIDDEN: Final = "****"

_OURS: Final = (
    r"\bS[UAONCX][A-Z2-7]{56}\b"  # seeds of NATS
    r"|(?<![A-Za-z0-9])ig3_[a-z0-9]{4,64}_[\w-]{16,}"  # API keys
)
_ANYBODYS: Final = (
    r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"  # JSON web tokens
    r"|-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----[^-]*(?:-----END (?:[A-Z]+ )*PRIVATE KEY-----)?"
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"  # user:password in URLs
    r"|(?i:(?<=bearer )[\w.~+/-]+=*)"
    # What is said to be one: `passphrase=...`, `"password": "..."`, IG3_BROKER_STORE_KEY=...
    r"|(?i:(?<=passphrase=)|(?<=password=)|(?<=secret=)|(?<=store_key=)|(?<=seed_edge=)|(?<=seed_core=))[^\s&]+"
    r'|(?i:(?<="passphrase":)|(?<="password":)|(?<="secret":)|(?<="seed":)|(?<="edge_seed":)|(?<="core_seed":))'
    r'\s*"[^"]*"'
)

_own: Final = re.compile(_OURS)
_any: Final = re.compile(f"{_OURS}|{_ANYBODYS}")


def hide_secrets(text: str) -> str:
    """Put stars in the place of everything that looks like a secret."""
    return _any.sub(HIDDEN, text)


def holds_secret(text: str) -> bool:
    """Whether something in a text of ours looks like a secret."""
    return _any.search(text) is not None


def holds_secret_of_ours(text: str) -> bool:
    """Whether something looks like a secret that only a mesh makes, wherever the text comes from."""
    return _own.search(text) is not None
