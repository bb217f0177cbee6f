"""An answer that is being written while its node has to prove anew who it is, and to ask for its grant again."""

from datetime import timedelta
from pathlib import Path

import pytest

from nodes import chunk_writer
from streams.events import TaskAssigned
from tests.mesh_in_process import InProcessMesh, text_of

SESSION = timedelta(seconds=2)


async def test_an_answer_goes_on_over_sessions_without_gap_or_repeat_or_another_attempt(tmp_path: Path) -> None:
    async with InProcessMesh(folder=tmp_path / "mesh", session=SESSION) as mesh:
        await mesh.add_dispatcher()
        node = await mesh.add_node(delay_ms=50)
        renewals: list[int] = []
        node.link.on_return(lambda: renewals.append(1))
        slow = await mesh.steps(await mesh.submit(tokens=80))
        assert len(renewals) >= 2
        quick = await mesh.steps(await mesh.submit(tokens=80))
        assert text_of(slow) == text_of(quick)
        assert sum(isinstance(step.event, TaskAssigned) for step in slow) == 1
        assert slow[-1].state.outcome == "completed"


async def test_a_node_asks_for_its_grant_anew_before_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk_writer, "_RENEW_AFTER_S", 0.3)
    async with InProcessMesh(folder=tmp_path / "mesh") as mesh:
        await mesh.add_dispatcher()
        node = await mesh.add_node(delay_ms=50)
        orders: list[str] = []
        await mesh.bus.edge.listen(f"node.{node.name}.assign", lambda delivery: orders.append(delivery.reply))
        steps = await mesh.steps(await mesh.submit(tokens=30))
        assert len(orders) >= 3
        assert len(set(orders)) == 1
        assert sum(isinstance(step.event, TaskAssigned) for step in steps) == 1
        assert steps[-1].state.outcome == "completed"
