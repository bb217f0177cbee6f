"""Which subjects of a stream are one account's: for whoever carries all of an account away, or erases it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from streams.sites import subject_at_home

if TYPE_CHECKING:
    from streams.tokens import Token
    from streams.topology import StreamSpec

_ACCOUNT_AT: Final = {
    **{"tasks": 3, "results": 2, "ended": 2, "dead": 1, "keys": 1, "access": 1, "billing": 1},
    **{"files": 1, "parts": 1, "batches": 1, "cache": 1, "hits": 1, "stores": 1, "passages": 1},
}
"""Where the account stands in subjects of each root."""

_CONTENT: Final = frozenset({"tasks", "results", "keys", "files", "parts", "batches", "cache", "stores", "passages"})


def account_subjects(spec: StreamSpec, account: Token) -> tuple[str, ...]:
    """Return what a stream holds of an account, as filters; none where it holds nothing of anybody's."""
    narrowed = (_narrowed(subject, account) for subject in spec.held)
    return tuple(subject for subject in narrowed if subject is not None)


def holds_content(spec: StreamSpec) -> bool:
    """Whether a stream of this mesh holds what was asked and answered, and not only that it was.

    Copies of sites do not count: the site would deliver them again.
    """
    return any(subject.partition(".")[0] in _CONTENT for subject in spec.subjects)


def is_copy(spec: StreamSpec) -> bool:
    """Whether a stream holds the content of an edge site."""
    return any(subject_at_home(pattern).partition(".")[0] in _CONTENT for pattern in spec.held) and not spec.subjects


def _narrowed(subject: str, account: Token) -> str | None:
    at_home = subject_at_home(subject)
    tokens = at_home.split(".")
    place = _ACCOUNT_AT.get(tokens[0])
    if place is None:
        return None
    tokens[place] = account
    return subject.removesuffix(at_home) + ".".join(tokens)
