"""The root of all messages that are no events of record."""

from __future__ import annotations

from msgspec import Struct


class Wire(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Root of all messages."""
