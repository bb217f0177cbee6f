"""The root of the messages that travel on core NATS, which ``streams.messages`` lists."""

from __future__ import annotations

from msgspec import Struct


class Wire(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Root of all messages."""
