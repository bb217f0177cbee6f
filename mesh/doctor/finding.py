"""What a rule says of one thing that was looked at."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Level = Literal["ok", "warning", "insecure"]


class Finding(Struct, frozen=True, kw_only=True):
    """One line of the report. ``remedy`` says what to do, unless all is well."""

    item: str
    level: Level
    text: str
    remedy: str = ""


def ok(item: str, text: str) -> Finding:
    """All is well."""
    return Finding(item=item, level="ok", text=text)


def warning(item: str, text: str, remedy: str) -> Finding:
    """Somebody should look at it."""
    return Finding(item=item, level="warning", text=text, remedy=remedy)


def insecure(item: str, text: str, remedy: str) -> Finding:
    """Somebody can do what they should not."""
    return Finding(item=item, level="insecure", text=text, remedy=remedy)
