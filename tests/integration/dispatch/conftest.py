from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.mesh_in_process import InProcessMesh
from tests.patient_links import wait_for_answers


@pytest.fixture(scope="module", autouse=True)
def answers() -> Iterator[None]:
    """Who asks or appends waits for the answer, however slow this machine is."""
    with pytest.MonkeyPatch.context() as patch:
        wait_for_answers(patch)
        yield


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[InProcessMesh]:
    async with InProcessMesh(folder=tmp_path / "mesh") as running:
        yield running
