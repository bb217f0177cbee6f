"""The root of the event catalogue, which ``streams.events`` lists."""

from __future__ import annotations

from msgspec import Struct


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Root of the catalogue."""
