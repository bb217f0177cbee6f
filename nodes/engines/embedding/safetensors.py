"""Reads a model file in the safetensors format, strictly: a length, a JSON table, and the numbers.

Format: the README of the safetensors project. Nothing is believed that does not fit the size of the file.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
from msgspec import Struct

from nodes.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

_LENGTH_BYTES: Final = 8
_MOST_HEADER_BYTES: Final = 100_000_000
"""The format's own limit."""

_FLOAT32: Final = "F32"
_NUMBER_BYTES: Final = 4
_NOTES: Final = "__metadata__"


class _Entry(Struct, frozen=True):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def read_floats(path: Path) -> Mapping[str, npt.NDArray[np.float32]]:
    """Map the file and return its 32-bit floating tensors by name; pages are read when they are used.

    Raises:
        EngineUnavailable: the file is unreadable, damaged or cut short; the message says which.
    """
    try:
        data = np.memmap(path, dtype=np.uint8, mode="r")
    except (OSError, ValueError) as e:  # ValueError: an empty file cannot be mapped
        raise EngineUnavailable(f"cannot read model file {path}: {e}") from e
    table, begin = _table(path, data)
    floats = {name: entry for name, entry in table.items() if entry.dtype == _FLOAT32}
    return {name: _tensor(path, name, entry, data[begin:]) for name, entry in floats.items()}


def _table(path: Path, data: npt.NDArray[np.uint8]) -> tuple[dict[str, _Entry], int]:
    length = int.from_bytes(data[:_LENGTH_BYTES].tobytes(), "little")
    begin = _LENGTH_BYTES + length
    if len(data) < _LENGTH_BYTES or length > _MOST_HEADER_BYTES or begin > len(data):
        raise _damaged(path, f"its header does not fit into its {len(data)} bytes")
    try:
        table = msgspec.json.decode(data[_LENGTH_BYTES:begin].tobytes(), type=dict[str, msgspec.Raw])
        return {name: msgspec.json.decode(raw, type=_Entry) for name, raw in table.items() if name != _NOTES}, begin
    except msgspec.DecodeError as e:
        raise _damaged(path, f"its header cannot be read ({e})") from e


def _tensor(path: Path, name: str, entry: _Entry, numbers: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    first, last = entry.data_offsets
    fits = 0 <= first <= last <= len(numbers) and min(entry.shape, default=1) >= 0
    if not fits or last - first != math.prod(entry.shape) * _NUMBER_BYTES:
        raise _damaged(path, f"the place of {name[:80]!r} does not fit")
    # Copied where the header left it at an odd address.
    return np.require(numbers[first:last].view("<f4").reshape(entry.shape), requirements="A")


def _damaged(path: Path, what: str) -> EngineUnavailable:
    return EngineUnavailable(f"{path} is no usable safetensors model: {what}; install or download it again")
