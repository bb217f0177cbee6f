"""Who may connect to a cluster: decided by services on any of its servers, and taken back on all of them."""

from contextlib import AsyncExitStack

import pytest

from mesh.bus.link import Link
from mesh.bus.service_bus import Bus
from mesh.identity.device_log import DeviceLog
from streams.tokens import Token
from tests.identity_in_process import device_options, identity_service
from tests.integration.cluster.running_cluster import RunningCluster
from tests.processes import until

pytestmark = pytest.mark.timeout(240)


async def test_a_device_that_is_revoked_is_cut_off_whichever_server_it_is_on(cluster: RunningCluster, bus: Bus) -> None:
    async with AsyncExitStack() as stack:
        log = DeviceLog(bus.core)
        await log.start()
        stack.push_async_callback(log.stop)
        await stack.enter_async_context(identity_service(cluster))
        revoked = {Token(f"on-{number}"): url for number, url in enumerate(cluster.urls)}
        staying = {Token(f"stays-on-{number}"): url for number, url in enumerate(cluster.urls)}
        links: dict[Token, Link] = {}
        returned: list[str] = []
        for name, url in (revoked | staying).items():
            links[name] = await Link.connect(device_options(url, name))
            stack.push_async_callback(links[name].close)
            links[name].on_return(lambda name=name: returned.append(name))
        await log.catch_up()
        for name in revoked:
            await log.revoke(name, by="test", reason="stolen")
        await until(lambda: not any(links[name].is_connected for name in revoked))
        assert all(links[name].is_connected for name in staying)
        assert not returned
