"""Rules for numbers, bounded ones too: a grammar knows digits only, so a range is parted into runs of them."""

from __future__ import annotations

import math
from typing import Final

MOST_DIGITS: Final = 15
"""Integers of so many digits are held exactly by whoever reads JSON numbers as IEEE doubles."""

INTEGER: Final = f'"-"? ( "0" | [1-9] [0-9]{{0,{MOST_DIGITS - 1}}} )'
NUMBER: Final = f'{INTEGER} ( "." [0-9]{{1,15}} )? ( [eE] [-+]? [0-9] [0-9]? )?'
_DECIMALS: Final = '"." [0-9]{1,15}'


def integers(low: float | None, high: float | None) -> str | None:
    """Write the integers from ``low`` to ``high``, both included; None where there are none."""
    if low in {0, 1} and high is None:
        zero = '"0" | ' if low == 0 else ""
        return f"{zero}[1-9] [0-9]{{0,{MOST_DIGITS - 1}}}"
    least, most = _ends(low, high)
    parts: list[str] = []
    if least < 0:
        parts += [f'"-" {part}' for part in _runs(max(1, -most), -least)]
    parts += _runs(max(0, least), most)
    return " | ".join(parts) or None


def numbers(low: float | None, high: float | None) -> str | None:
    """Write numbers between the bounds, both included; None where no integer lies between.

    Not every one of them: with decimals only where any decimals keep inside.
    """
    whole = integers(low, high)
    if whole is None:
        return None
    if low in {0, 1} and high is None:
        return f"( {whole} ) ( {_DECIMALS} )?"
    # n.ddd lies between n and n + 1, -n.ddd between -n - 1 and -n.
    least, most = _ends(low, high)
    parts = [whole]
    parts += [f"{run} {_DECIMALS}" for run in _runs(max(0, least), most - 1)]
    parts += [f'"-" {run} {_DECIMALS}' for run in _runs(max(0, -most), -least - 1)]
    return " | ".join(parts)


def _ends(low: float | None, high: float | None) -> tuple[int, int]:
    largest = 10**MOST_DIGITS - 1
    least = -largest if low is None else max(-largest, math.ceil(low))
    return least, largest if high is None else min(largest, math.floor(high))


def _runs(low: int, high: int) -> list[str]:
    """Part the whole numbers from ``low`` >= 0 to ``high`` into patterns of digits."""
    runs: list[str] = []
    while low <= high:
        end = _end_of_run(low, high)
        runs.append(_pattern(str(low), str(end)))
        low = end + 1
    return runs


def _end_of_run(low: int, high: int) -> int:
    """The last number that shares a pattern with ``low``: its last digits are free, one before them has a range."""
    size = 1
    limit = min(high, 10 ** len(str(low)) - 1)
    while low % (size * 10) == 0 and low + size * 10 - 1 <= limit and low:
        size *= 10
    end = low + size - 1
    while end + size <= limit and (end + 1) // (size * 10) == low // (size * 10):
        end += size
    return end


def _pattern(low: str, high: str) -> str:
    parts = [f"[{a}-{b}]" if a != b else f'"{a}"' for a, b in zip(low, high, strict=True)]
    return " ".join(parts)
