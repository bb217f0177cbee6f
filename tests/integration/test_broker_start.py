"""A broker that was held up at its start serves all the same."""

from pathlib import Path

import pytest

from mesh.broker import server as server_module
from mesh.broker.files import BrokerOptions, find_binary
from mesh.broker.server import EmbeddedServer
from mesh.config.address import Address

HELD_UP = """#!/bin/sh
# nats-server, whose first process has stood still until it was too late to write where it listens.
if mkdir "$0.first" 2>/dev/null; then
    echo "[1] 2026/11/29 01:32:25.854360 [ERR] Unable to resolve the ports in the specified time" >&2
    exec sleep 600
fi
exec {binary} "$@"
"""


async def test_one_that_has_not_written_where_it_listens_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = tmp_path / "held-up"
    binary.write_text(HELD_UP.format(binary=find_binary()))
    binary.chmod(0o700)
    monkeypatch.setattr(server_module, "find_binary", lambda: binary)
    options = BrokerOptions(data_dir=tmp_path / "data", listen=Address("127.0.0.1", 0), durability="process")
    async with EmbeddedServer(options) as server:
        assert server.address.port
        assert (tmp_path / "held-up.first").is_dir()
        assert server.pid is not None
