"""An answer that is being written while its node has to prove anew who it is, and to ask for its grant again."""

import asyncio
from pathlib import Path

import pytest

from gateway.roster import registry
from nodes.attempts import chunk_writer
from nodes.engine import EngineSpec
from nodes.engines import open_engine
from streams.events import TaskAssigned
from tests.integration.worker import site
from tests.mesh_in_process import LIMIT_S, InProcessMesh, text_of

TOKENS = 80


async def test_an_answer_goes_on_over_sessions_without_gap_or_repeat_or_another_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine it may take longer than usual to come back.
    monkeypatch.setattr(registry, "_RETURN_GRACE_S", LIMIT_S)
    async with InProcessMesh(folder=tmp_path / "mesh") as mesh:
        await mesh.add_dispatcher()
        node = await mesh.add_node(delay_ms=50, interval_s=5)
        back = asyncio.Event()
        node.link.on_return(back.set)
        key = await mesh.submit(tokens=TOKENS)
        for n in (3, 10):
            await mesh.reached(key, n)
            back.clear()
            # What a link does by itself before its session ends; of a session of seconds a busy machine sees the end.
            await node.link._client.renew()
            async with asyncio.timeout(LIMIT_S):
                await back.wait()
        steps = await mesh.steps(key)
        undisturbed = open_engine(EngineSpec(engine="synthetic"))
        await undisturbed.start()
        assert text_of(steps) == await site.text_of(undisturbed, "hello", TOKENS)
        assert sum(isinstance(step.event, TaskAssigned) for step in steps) == 1
        assert steps[-1].state.outcome == "completed"


async def test_a_node_asks_for_its_grant_anew_before_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk_writer, "_RENEW_AFTER_S", 0.1)
    async with InProcessMesh(folder=tmp_path / "mesh") as mesh:
        await mesh.add_dispatcher()
        node = await mesh.add_node(delay_ms=50, interval_s=5)
        orders: list[str] = []
        await mesh.bus.edge.listen(f"node.{node.name}.assign", lambda delivery: orders.append(delivery.reply))
        steps = await mesh.steps(await mesh.submit(tokens=30))
        assert len(orders) >= 3
        assert len(set(orders)) == 1
        assert sum(isinstance(step.event, TaskAssigned) for step in steps) == 1
        assert steps[-1].state.outcome == "completed"
