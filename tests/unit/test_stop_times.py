"""How long each process may take to stop is what docs/processes.md states, and less than `ig3 up` waits for it."""

import re

from gateway.http.server import FAREWELL_S
from gateway.settings import GatewaySettings
from mesh.broker.server import STOP_TIMEOUT
from mesh.bus.direct_client import LEAVE_S
from mesh.config.settings import UpSettings
from mesh.telemetry.sdk import EXPORT_S
from nodes.attempts.worker import HAND_OVER
from nodes.models.loaded import ENGINE_STOP
from nodes.presence.announce import LEAVE
from nodes.settings import NodeSettings
from tests.running_mesh import ROOT

COLLECTOR_S = 2 * EXPORT_S
LONGEST_S = {
    "gateway": GatewaySettings().http_stop_timeout.total_seconds() + FAREWELL_S + LEAVE_S + COLLECTOR_S,
    "node": (NodeSettings().drain + 2 * HAND_OVER + LEAVE + ENGINE_STOP).total_seconds() + LEAVE_S + COLLECTOR_S,
    "dispatcher": 2 * LEAVE_S + COLLECTOR_S,
    "retrieval": LEAVE_S + COLLECTOR_S,
    "ledger": LEAVE_S + COLLECTOR_S,
    "broker": LEAVE_S + STOP_TIMEOUT.total_seconds(),
}


def test_what_is_stated_is_what_the_parts_add_up_to() -> None:
    page = (ROOT / "docs" / "processes.md").read_text()
    stated = re.findall(r"^ *\| (\w+) \| (\d+) s \|", page, re.MULTILINE)
    assert {name: float(seconds) for name, seconds in stated} == LONGEST_S


def test_no_process_is_killed_before_its_time_is_over() -> None:
    assert max(LONGEST_S.values()) < UpSettings().stop_timeout.total_seconds()
