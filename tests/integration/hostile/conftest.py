from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from mesh.identity.device_log import DeviceLog
from tests.integration.hostile.rogue import Rogue
from tests.mesh_in_process import InProcessMesh, text_of
from tests.patient_links import wait_for_answers


@pytest.fixture(scope="module", autouse=True)
def answers() -> Iterator[None]:
    """No answer of the broker counts as lost because this machine is slow."""
    with pytest.MonkeyPatch.context() as patch:
        wait_for_answers(patch)
        yield


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[InProcessMesh]:
    """One mesh for all tests of a module: each has a task of its own, and what one leaves behind must hurt no other."""
    async with InProcessMesh(folder=tmp_path_factory.mktemp("hostile")) as running:
        await running.add_dispatcher(known_models=("rogue", "promised-later"))
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def rogue(mesh: InProcessMesh) -> AsyncIterator[Rogue]:
    async with Rogue(mesh, "rogue") as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def truth(mesh: InProcessMesh) -> str:
    """What the honest node answers, which is there from now on."""
    await mesh.add_node("honest", interval_s=5)
    return text_of(await mesh.steps(await mesh.submit()))


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def devices(mesh: InProcessMesh) -> AsyncIterator[DeviceLog]:
    log = DeviceLog(mesh.bus.core)
    await log.start()
    yield log
    await log.stop()
