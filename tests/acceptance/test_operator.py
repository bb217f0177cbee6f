"""An operator runs nats-server by itself with our nats.conf, as docs/processes.md says, and every part by hand."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mesh.broker.cluster import free_ports
from tests.processes import PATIENCE_S, wait_until
from tests.running_mesh import IG3, ROOT, SYNTHETIC, Parts, Place

pytestmark = pytest.mark.timeout(240)


def block() -> str:
    """The commands of the section."""
    section = (ROOT / "docs/processes.md").read_text().partition("## nats-server alone")[2]
    found = re.search(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A place where a nats-server runs that none of our processes has started."""
    (port,) = free_ports("127.0.0.1", 1)
    here = replace(Place(folder=tmp_path), nats=f"127.0.0.1:{port}")
    shell = {**here.variables, "PATH": f"{IG3.parent}:{os.environ['PATH']}"}
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen(
            ["bash", "-euc", block().replace(".ig3/", f"{here.data_dir}/")],
            cwd=ROOT,
            env=shell,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield here
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=PATIENCE_S)


def test_a_mesh_on_a_nats_server_of_ones_own(place: Place) -> None:
    parts = Parts(place=place)
    try:
        # The commands that the server needs come first, so it is not there at once.
        wait_until(lambda: "ig3: " not in place.ig3("streams", "check").stderr)
        missing = place.ig3("streams", "check")
        assert missing.returncode == 1
        assert "missing" in missing.stdout
        place.ok("streams", "provision")
        place.ok("streams", "check")
        parts.start("identity")
        parts.start("dispatcher")
        parts.start("gateway", "--http", "127.0.0.1:0")
        parts.start("node", "--engine", "synthetic")
        parts.ready("identity", "dispatcher", "gateway", "node")
        assert len(place.ok("chat", "-m", SYNTHETIC, "--max-tokens", "7", "Hello").split()) == 7
    finally:
        parts.stop()
