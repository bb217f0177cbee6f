"""A whole node, in this process and as the command that people start."""

import asyncio
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from mesh.config.settings import MeshSettings
from mesh.errors import BusUnavailable, CredentialsError
from mesh.identity.key_file import DEVICE_KEYS
from mesh.processes.readiness import READY_FD_VARIABLE, Ready, read_announcement
from nodes.process import NodeProcess
from nodes.settings import NodeSettings
from streams.tasks.chat import Sampling
from tests.integration.worker.played_dispatcher import PATIENCE_S, until
from tests.integration.worker.site import NODE, Site
from tests.paced_engine import Pace, PacedEngine


def mesh_of(site: Site) -> MeshSettings:
    return MeshSettings(nats=str(site.server.address), data_dir=site.data_dir)


async def test_a_node_announces_serves_drains_and_withdraws(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    pace = Pace()
    monkeypatch.setattr("nodes.models.loaded.open_engine", lambda spec, *_: PacedEngine(spec, pace))
    fractions: list[float] = []
    settings = NodeSettings(id=NODE, engine="synthetic", drain=timedelta(minutes=5))
    process = NodeProcess(settings, mesh_of(site), fractions.append)
    stop = asyncio.Event()
    running = asyncio.create_task(process.run(stop))
    await until(lambda: site.dispatcher.statuses)
    pace.hold(10)
    key = await site.dispatcher.place(sampling=Sampling(max_tokens=30))
    await site.dispatcher.tokens_stored(key, 10)
    stop.set()
    await until(lambda: site.dispatcher.statuses[-1].draining)
    pace.let_go()
    async with asyncio.timeout(PATIENCE_S):
        await running
    assert (await site.dispatcher.whole(key)).state.tokens == 30
    assert [replica.model for replica in site.dispatcher.announced[0].replicas] == ["synthetic"]
    # It has left; its last words may still be on their way.
    await until(lambda: site.dispatcher.announced[-1].replicas == ())
    assert site.dispatcher.statuses[-1].draining


async def test_a_node_can_be_stopped_before_any_registry_heard_it(site: Site) -> None:
    site.dispatcher.accepts = False
    stop = asyncio.Event()
    process = NodeProcess(NodeSettings(id=NODE, engine="synthetic"), mesh_of(site), lambda _: None)
    running = asyncio.create_task(process.run(stop))
    await until(lambda: site.dispatcher.announced)
    stop.set()
    async with asyncio.timeout(PATIENCE_S):
        await running


async def test_a_node_without_a_broker_or_with_a_key_that_others_can_read_says_so(site: Site, tmp_path: Path) -> None:
    settings = NodeSettings(id=NODE, engine="synthetic")
    nowhere = MeshSettings(nats="127.0.0.1:1", data_dir=site.data_dir)
    with pytest.raises(BusUnavailable, match=r"127\.0\.0\.1:1"):
        await NodeProcess(settings, nowhere, lambda _: None).run(asyncio.Event())
    elsewhere = MeshSettings(data_dir=tmp_path / "elsewhere")
    NodeProcess(settings, elsewhere, lambda _: None)
    (elsewhere.data_dir / DEVICE_KEYS / f"{NODE}.key").chmod(0o644)
    with pytest.raises(CredentialsError, match=r"node-1\.key is open to other users"):
        NodeProcess(settings, elsewhere, lambda _: None)


async def test_the_command_is_ready_once_announced_and_ends_cleanly_on_sigterm(site: Site) -> None:
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "mesh.cli", "node", "--engine", "synthetic", "--id", NODE]
    command += ["--nats", str(site.server.address), "--data-dir", str(site.data_dir)]
    child = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, READY_FD_VARIABLE: str(writing)},
        pass_fds=(writing,),
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(writing)
    try:
        said = await asyncio.wait_for(asyncio.to_thread(_until_ready, reading), PATIENCE_S)
        keys = [await site.dispatcher.place(sampling=Sampling(max_tokens=5)) for _ in range(16)]
        assert [(await site.dispatcher.whole(key)).state.tokens for key in keys] == [5] * 16
        child.send_signal(signal.SIGTERM)
        _, errors = await asyncio.wait_for(child.communicate(), PATIENCE_S)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert child.returncode == 0, errors.decode()
    assert b"Traceback" not in errors
    assert said.models == ("synthetic",)
    await until(lambda: site.dispatcher.announced[-1].replicas == ())


def _until_ready(descriptor: int) -> Ready:
    with os.fdopen(descriptor, "rb") as lines:
        for line in lines:
            if isinstance(announced := read_announcement(line), Ready):
                return announced
    raise AssertionError("the node ended before it was ready")
