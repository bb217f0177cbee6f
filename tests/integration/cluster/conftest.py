"""One cluster for all tests of the folder: each begins with it whole, and leaves it so."""

from collections.abc import AsyncIterator, Iterator

import pytest

from mesh.bus.service_bus import Bus
from tests.integration.cluster.running_cluster import RunningCluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    """Three servers."""
    with RunningCluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture
async def bus(cluster: RunningCluster) -> AsyncIterator[Bus]:
    """A service that knows all of them, while all is well."""
    async with await cluster.connect("test") as connected:
        await cluster.whole(connected)
        yield connected
