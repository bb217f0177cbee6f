"""A model file in the safetensors format, sound and not."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import msgspec
import pytest

from nodes.engines.embedding.safetensors import read_floats
from nodes.errors import EngineUnavailable

if TYPE_CHECKING:
    from pathlib import Path

NUMBERS = struct.pack("<4f", 1, 2, 3, 4)


def written(folder: Path, entry: object, numbers: bytes = NUMBERS) -> Path:
    header = msgspec.json.encode({"__metadata__": {"format": "pt"}, "w": entry})
    path = folder / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + numbers)
    return path


def entry(shape: list[int], offsets: list[int], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_floats_are_read_by_name(tmp_path: Path) -> None:
    tensors = read_floats(written(tmp_path, entry([2, 2], [0, 16])))
    assert tensors["w"].tolist() == [[1, 2], [3, 4]]


def test_other_numbers_are_passed_over(tmp_path: Path) -> None:
    assert not read_floats(written(tmp_path, entry([2], [0, 16], "I64")))


@pytest.mark.parametrize(
    "bad",
    [
        entry([2, 2], [0, 12]),
        entry([2, 2], [4, 20]),
        entry([2, 2], [16, 0]),
        entry([-2, -2], [0, 16]),
        entry([2**40, 2**40], [0, 16]),
        {"dtype": "F32"},
        7,
    ],
    ids=str,
)
def test_a_place_that_does_not_fit_is_refused(tmp_path: Path, bad: object) -> None:
    with pytest.raises(EngineUnavailable, match="no usable safetensors model"):
        read_floats(written(tmp_path, bad))


@pytest.mark.parametrize("length", [1, 7, 8, 20, -1])
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, length: int) -> None:
    path = written(tmp_path, entry([2, 2], [0, 16]))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(EngineUnavailable, match="no usable safetensors model"):
        read_floats(path)


def test_a_file_that_is_empty_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for name in ("empty", "missing"):
        with pytest.raises(EngineUnavailable, match="cannot read model file"):
            read_floats(tmp_path / name)
