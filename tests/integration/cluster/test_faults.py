"""A server is killed, hangs or is cut off while several writers append: nothing acknowledged is lost, all go on."""

import asyncio

import pytest

from tests.integration.cluster.faults import Fault, Role, under_fault
from tests.integration.cluster.running_cluster import RunningCluster
from tests.processes import PATIENCE_S

pytestmark = pytest.mark.timeout(240)


@pytest.mark.parametrize(
    ("fault", "role"), [("kill", "leader"), ("pause", "leader"), ("isolate", "leader"), ("isolate", "follower")]
)
async def test_no_acknowledged_event_is_lost_and_every_writer_goes_on(
    cluster: RunningCluster, fault: Fault, role: Role
) -> None:
    async with asyncio.timeout(2 * PATIENCE_S):
        measured = await under_fault(cluster, fault, role)
    print(measured)
    assert (measured.lost, measured.broken) == (0, 0)
