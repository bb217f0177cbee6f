"""Durations and sizes as people write them: ``5s``, ``2m30s``, ``24h``, ``7d``; ``512MiB``, ``10GB``."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

_UNITS: Final = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(d|h|ms|m|s)")
_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:d|h|ms|m|s))+")

_MULTIPLES: Final = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")


def parse_duration(text: str) -> timedelta:
    """Read a duration: numbers with the units d, h, m, s and ms, without spaces between.

    Raises:
        ValueError: if it is written otherwise, a bare number too: it does not say its unit.
    """
    if _DURATION.fullmatch(text.strip()) is None:
        raise ValueError(f"{text!r} is not a duration: write it like 500ms, 5s, 2m or 24h")
    return sum((float(number) * _UNITS[unit] for number, unit in _PART.findall(text)), timedelta())


def format_duration(value: timedelta) -> str:
    """Write a duration so that ``parse_duration`` reads it back, in the largest units that fit."""
    rest = value
    parts: list[str] = []
    for unit, length in _UNITS.items():
        count, rest = divmod(rest, length)
        # Whole days read better as hours until there are more than two.
        if unit == "d" and value < timedelta(days=2):
            rest += count * length
            continue
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def parse_size(text: str) -> int:
    """Read a size in bytes: a number with B, KB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB (of 1024).

    Raises:
        ValueError: if it is written otherwise.
    """
    match = _SIZE.fullmatch(text.strip())
    multiple = _MULTIPLES.get(match[2].upper()) if match else None
    if match is None or multiple is None:
        raise ValueError(f"{text!r} is not a size: write it like 512MiB or 10GB")
    return int(float(match[1]) * multiple)
