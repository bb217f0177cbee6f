"""Every process ends in its stated time when it is asked to, also while the broker hangs and nobody answers it."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from tests.processes import PATIENCE_S, descendants
from tests.running_mesh import SYNTHETIC, running_parts
from tests.unit.test_stop_times import LONGEST_S

pytestmark = pytest.mark.timeout(180)

GENEROUS_S = 15.0
"""For a machine that is busy with other tests."""


async def test_a_broker_that_hangs_keeps_nobody_from_stopping_in_time(tmp_path: Path) -> None:
    names = {
        "dispatcher": (),
        "gateway": ("--http", "127.0.0.1:0"),
        "node": ("--engine", SYNTHETIC, "--drain", "0s"),
    }
    with running_parts(tmp_path) as parts:
        for name, arguments in names.items():
            parts.start(name, *arguments)
        parts.ready(*names)
        (server,) = [pid for pid, name in descendants(parts.running["broker"].pid).items() if name == "nats-server"]
        os.kill(server, signal.SIGSTOP)
        try:
            begun_s = time.monotonic()
            for name in names:
                os.kill(parts.running[name].pid, signal.SIGTERM)
            took_s = dict.fromkeys(names, 0.0)

            async def end(name: str) -> int:
                status = await asyncio.to_thread(parts.running[name].process.wait, PATIENCE_S)
                took_s[name] = time.monotonic() - begun_s
                return status

            assert await asyncio.gather(*map(end, names)) == [0, 0, 0], parts.place.tails()
            for name, seconds in took_s.items():
                assert seconds < LONGEST_S[name] + GENEROUS_S, parts.running[name].output
        finally:
            os.kill(server, signal.SIGCONT)
