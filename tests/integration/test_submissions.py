"""What was asked, read back: also where the copy of the stream that answers lags behind the one that stores."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.intake.submissions import Submissions
from tests.mesh_in_process import InProcessMesh

pytestmark = pytest.mark.usefixtures("patient_answers")


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[InProcessMesh]:
    async with InProcessMesh(folder=tmp_path / "mesh") as running:
        yield running


async def test_what_was_asked_is_found_and_what_was_not_is_not(mesh: InProcessMesh) -> None:
    submissions, key = Submissions(mesh.bus.edge), await mesh.submit(text="why?")
    found = await submissions.find(key)
    assert found is not None
    assert (found.key, found.question) == (key, "why?")
    assert await submissions.exists(key)
    assert await submissions.find(mesh.key()) is None
    assert not await submissions.exists(mesh.key())


async def test_in_a_cluster_only_the_leader_says_that_there_is_nothing(
    mesh: InProcessMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    submissions, key = Submissions(mesh.bus.edge), await mesh.submit(text="why?")

    async def lagging(_: object) -> tuple[()]:
        return ()

    monkeypatch.setattr(submissions, "_stored", lagging)
    assert not await submissions.exists(key)
    monkeypatch.setattr(mesh.bus.edge, "_has_choice", True)
    found = await submissions.find(key)
    assert found is not None
    assert (found.key, found.question) == (key, "why?")
    assert await submissions.exists(key)
    assert await submissions.find(mesh.key()) is None
    assert not await submissions.exists(mesh.key())
