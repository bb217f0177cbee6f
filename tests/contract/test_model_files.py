"""What every engine with a model file of its own makes of a file that is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nodes.engine import EngineSpec
from nodes.engines import open_engine
from nodes.errors import EngineUnavailable
from tests.contract.asking import ask, pieces_of
from tests.contract.engine_cases import WITH_FILE, Case
from tests.unit.gguf_files import tiny

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(180)


@pytest.mark.parametrize("case", WITH_FILE, ids=str)
async def test_a_file_that_is_no_model_is_refused_before_it_is_loaded(case: Case, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    engine = open_engine(EngineSpec(engine=case.spec.engine, model=str(broken)))
    with pytest.raises(EngineUnavailable, match=r"broken\.gguf is no usable GGUF model"):
        await engine.start()


@pytest.mark.parametrize("case", WITH_FILE, ids=str)
async def test_a_sound_file_that_llama_cpp_cannot_load_makes_no_engine(case: Case, tmp_path: Path) -> None:
    strange = tmp_path / "strange.gguf"
    strange.write_bytes(tiny())
    engine = open_engine(EngineSpec(engine=case.spec.engine, model=str(strange)))
    with pytest.raises(EngineUnavailable, match=r"could not load .*strange\.gguf"):
        await engine.start()
    with pytest.raises(EngineUnavailable):
        await pieces_of(engine, ask("hi"))
