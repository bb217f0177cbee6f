"""Vectors as a binding or a server gives them, made what the mesh calls one: 32-bit floats, of length 1."""

from __future__ import annotations

import math
import sys
from array import array
from typing import TYPE_CHECKING, Final

from nodes.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Sequence

NUMBER_BYTES: Final = 4


def unit(numbers: Sequence[float]) -> bytes:
    """Scale a vector to the length 1.

    Raises:
        EngineError: that cannot be: it is empty, nothing but zeros, or not of numbers.
    """
    length = math.hypot(*numbers)
    if not math.isfinite(length) or length == 0:
        raise EngineError(f"the model gave no vector: {len(numbers)} numbers of length {length}")
    return packed(array("f", (number / length for number in numbers)))


def packed(numbers: array[float]) -> bytes:
    """Write 32-bit floats, the least byte first."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def unpacked(vector: bytes) -> array[float]:
    """Read 32-bit floats, the least byte first.

    Raises:
        EngineError: these are no floats.
    """
    if len(vector) % NUMBER_BYTES:
        raise EngineError(f"the model gave no vector: {len(vector)} bytes are no 32-bit numbers")
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def likeness(one: bytes, other: bytes) -> float:
    """Compare two vectors of length 1: 1 if they are the same; 0 where they are not of one size."""
    if len(one) != len(other):
        return 0.0
    return sum(a * b for a, b in zip(unpacked(one), unpacked(other), strict=True))
