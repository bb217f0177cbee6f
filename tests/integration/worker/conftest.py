"""A broker with the shipped rights, and the test in the place of the dispatcher."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from mesh.broker.files import BrokerOptions
from mesh.broker.server import EmbeddedServer
from mesh.bus.dialing import LinkOptions
from mesh.bus.link import Link
from mesh.bus.provision import provision
from mesh.config.address import Address
from streams.topology import stream_specs
from tests.identity_in_process import identity_service
from tests.integration.worker.played_dispatcher import PlayedDispatcher
from tests.integration.worker.site import NODE, Site
from tests.patient_links import LONG, wait_for_answers


@pytest.fixture(autouse=True)
def answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No node takes an answer for lost because this machine is slow: it would ask again, and tests count that."""
    wait_for_answers(monkeypatch)
    monkeypatch.setattr("nodes.attempts.chunk_writer.ASK_TIMEOUT", LONG)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    options = BrokerOptions(data_dir=tmp_path / "mesh", listen=Address("127.0.0.1", 0), durability="process")
    async with AsyncExitStack() as stack:
        options.data_dir.mkdir()
        server = await stack.enter_async_context(EmbeddedServer(options))
        edge = await Link.connect(
            LinkOptions(
                servers=(server.url,),
                name="service:dispatcher",
                inbox_prefix="_INBOX.svc.dispatcher",
                seed_file=server.credentials.edge_service.seed_path,
            )
        )
        stack.push_async_callback(edge.close)
        core = await Link.connect(
            LinkOptions(
                servers=(server.url,),
                name="service:registry",
                inbox_prefix="_INBOX.svc.registry",
                seed_file=server.credentials.core_service.seed_path,
            )
        )
        stack.push_async_callback(core.close)
        await provision({"EDGE": edge, "CORE": core}, stream_specs(), [])
        await stack.enter_async_context(identity_service(server))
        dispatcher = PlayedDispatcher(link=edge, node=NODE)
        await dispatcher.start()
        yield Site(server, options.data_dir, dispatcher)
