"""An engine that cannot hold its model says so before it has read any of it."""

from __future__ import annotations

import pytest

from nodes.engine import EngineName, EngineSpec, Loading
from nodes.engines import open_engine
from nodes.engines.llama import startup
from nodes.errors import EngineUnavailable


@pytest.mark.parametrize("engine", ["xllamacpp", "llama-cpp-python"])
async def test_what_does_not_fit_is_refused_before_it_is_read(
    engine: EngineName, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(startup, "available_bytes", lambda: 100 * 2**20)
    loading: list[Loading] = []
    opened = open_engine(EngineSpec(engine=engine, context_tokens=8192), loading.append)
    with pytest.raises(EngineUnavailable, match="does not fit into memory"):
        await opened.start()
    assert loading == []
    await opened.stop()
