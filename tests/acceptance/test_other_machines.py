"""Services on another machine: each runs with the files that docs/processes.md says it needs, and no others."""

import re
import shutil
from pathlib import Path

import pytest

from tests.running_mesh import ROOT, Parts, Place, running_parts

pytestmark = pytest.mark.timeout(240)


def needed_by(process: str) -> list[str]:
    """The credentials in the page's row about a process."""
    page = (ROOT / "docs/processes.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith(f"| {process} | `ig3 {process}` |"))
    return re.findall(r"`credentials/([a-z-]+\.(?:nk|json))`", row)


def other_machine(folder: Path, broker: Parts, files: list[str]) -> Parts:
    """A folder with those files alone, and the way to the broker."""
    parts = Parts(place=Place(folder=folder, nats=broker.place.nats))
    credentials = parts.place.data_dir / "credentials"
    credentials.mkdir(mode=0o700, parents=True)
    for name in files:
        shutil.copy2(broker.place.data_dir / "credentials" / name, credentials / name)
    return parts


def test_dispatchers_gateways_and_operators_need_no_more_than_is_said(tmp_path: Path) -> None:
    with running_parts(tmp_path / "broker") as broker:
        deciding = other_machine(tmp_path / "c", broker, needed_by("identity"))
        dispatching = other_machine(tmp_path / "a", broker, needed_by("dispatcher"))
        serving = other_machine(tmp_path / "b", broker, needed_by("gateway"))
        try:
            deciding.start("identity")
            dispatching.start("dispatcher")
            serving.start("gateway", "--http", "127.0.0.1:0")
            deciding.ready("identity")
            dispatching.ready("dispatcher")
            serving.ready("gateway")
            serving.place.ok("streams", "check")
        finally:
            serving.stop()
            dispatching.stop()
            deciding.stop()
        assert len(needed_by("dispatcher")) == 3
        assert len(needed_by("gateway")) == 3
        assert len(needed_by("identity")) == 6
