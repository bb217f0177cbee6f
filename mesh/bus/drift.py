"""What of a stream or consumer is not as it should be, and what of it must not be changed unasked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["ours", "shortening", "foreign", "sealed"]
"""``ours``: a field of the specification. ``shortening``: one whose change makes the broker delete messages at once.
``foreign``: a field that the specification leaves to the broker's default, and somebody has set. ``sealed``: a denial
that the broker never takes back."""

SHORTEST_DEDUPE_NS: Final = 100_000_000

_ABSENT: Final[dict[str, Any]] = {
    "subjects": [],
    "max_age": 0,
    "duplicate_window": SHORTEST_DEDUPE_NS,
    "deny_delete": False,
    "deny_purge": False,
    "allow_direct": False,
}
"""What a field is that the broker leaves out."""

_DEFAULTS: Final[dict[str, Any]] = {"compression": "none", "replay_policy": "instant", "persist_mode": "default"}
"""Defaults of fields that we leave alone, where they are neither empty nor a number for "no limit"."""

_UNLIMITED: Final = (None, 0, -1)
_DENIALS: Final = ("deny_delete", "deny_purge")
_LIMITS: Final = ("max_age", "max_msgs_per_subject", "max_bytes")
"""Of the fields that we set, those by which the broker deletes what it has."""


class Difference(Struct, frozen=True, kw_only=True):
    """One field that is not as it should be."""

    field: str
    kind: Kind
    is_now: Any
    should_be: Any = None

    def __str__(self) -> str:
        """Read as "field: is -> should be"."""
        return f"{self.field}: {self.is_now!r} -> {'not set' if self.kind == 'foreign' else repr(self.should_be)}"


def differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Compare every field of ``found``, what the broker describes, with what is ``wanted`` or with its default."""
    ours = [
        Difference(field=field, kind=_kind(field, is_now, value), is_now=is_now, should_be=value)
        for field, value in wanted.items()
        if (is_now := found.get(field, _ABSENT.get(field))) != value
    ]
    foreign = [
        Difference(field=field, kind="foreign", is_now=value)
        for field, value in found.items()
        if field not in wanted and not _is_default(field, value) and not _is_own_name(field, value, wanted)
    ]
    return (*ours, *foreign)


def _kind(field: str, is_now: Any, should_be: Any) -> Kind:
    if field in _DENIALS and is_now:
        return "sealed"
    if field not in _LIMITS or should_be in _UNLIMITED:
        return "ours"
    return "shortening" if is_now in _UNLIMITED or should_be < is_now else "ours"


def _is_default(field: str, value: Any) -> bool:
    return not value or value == -1 or value == _DEFAULTS.get(field)


def _is_own_name(field: str, value: Any, wanted: Mapping[str, Any]) -> bool:
    return field == "name" and value == wanted.get("durable_name")
