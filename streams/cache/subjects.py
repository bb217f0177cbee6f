"""Subjects of the response cache in CORE: a part of ``streams.subjects``."""

from __future__ import annotations

from typing import Final

from streams.tokens import Token

SHARED: Final = Token("mesh-shared")
"""Whose the answers are that every account may have; no account of users may be called so."""


def cache_entry(owner: Token, digest: Token) -> str:
    """Where the answer to a request stands, or who is having it generated, as the newest message.

    ``digest`` is made of the request under a secret of this mesh, so it says nothing of what was asked.
    """
    return f"cache.{owner}.{digest}"


def cache_hits(account: Token) -> str:
    """Where it stands which answers an account was given from the cache."""
    return f"hits.{account}"
