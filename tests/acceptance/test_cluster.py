"""`ig3 up --cluster 3`: three NATS servers, of which any one may be killed while answers stream."""

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import ClientSession, ClientTimeout

from mesh.broker.credentials import Credentials
from mesh.bus.service_bus import Bus, BusOptions
from mesh.errors import BusError
from streams.tasks.task_id import bucket_of
from streams.tokens import token
from streams.topology import results_stream
from tests.http_gateway import Sse, sse_events
from tests.processes import PATIENCE_S, descendants, is_running, until, wait_until
from tests.running_mesh import SYNTHETIC, RunningMesh, running_up

pytestmark = pytest.mark.timeout(240)

TOKENS = 60
ANSWERS = 6
SERVERS = 3
UP = ("--cluster", str(SERVERS), "--engine", SYNTHETIC)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    with running_up(tmp_path_factory.mktemp("cluster"), *UP, "--token-delay-ms", "40") as running:
        yield running


@pytest.fixture
async def bus(mesh: RunningMesh) -> AsyncIterator[Bus]:
    """The streams themselves."""
    credentials = Credentials.load(mesh.place.data_dir)
    options = BusOptions(
        servers=tuple(f"nats://{server}" for server in mesh.place.nats.split(",")),
        name="test",
        edge_seed=credentials.edge_service.seed_path,
        core_seed=credentials.core_service.seed_path,
    )
    async with await Bus.connect(options) as connected:
        yield connected


@dataclass
class Answer:
    """One answer as its reader gets it, over one connection."""

    task: str = ""
    events: list[Sse] = field(default_factory=list[Sse])

    @property
    def ids(self) -> list[int]:
        return [int(event.id) for event in self.events if event.id]

    @property
    def text(self) -> str:
        parts = [event.json for event in self.events if event.data not in (None, "[DONE]")]
        return "".join(part["choices"][0]["delta"].get("content") or "" for part in parts if part["choices"])

    async def read(self, session: ClientSession, url: str) -> None:
        body = {
            "model": SYNTHETIC,
            "messages": [{"role": "user", "content": "hello"}],
            "max_tokens": TOKENS,
            "stream": True,
        }
        async with session.post(f"{url}/v1/chat/completions", json=body) as response:
            assert response.status == 200, await response.text()
            self.task = response.headers["x-ig3-task"]
            async for event in sse_events(response):
                self.events.append(event)


def servers(mesh: RunningMesh) -> dict[str, int]:
    """The process id of each nats-server that runs, by the server's name."""
    found: dict[str, int] = {}
    for pid, name in descendants(mesh.up.pid).items():
        with suppress(FileNotFoundError, ProcessLookupError):
            told = re.search(r'IG3_BROKER_NAME="([^"]+)"', Path(f"/proc/{pid}/environ").read_text())
            if name == "nats-server" and told is not None and is_running(pid):
                found[told[1]] = pid
    return found


async def leader_of(bus: Bus, task: str) -> str:
    """The server that leads the stream of a task's answer, as soon as one does."""
    stream = results_stream(bucket_of(token(task)), 4)
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with suppress(BusError):
                told = json.loads((await bus.edge.request(f"$JS.API.STREAM.INFO.{stream}", b"")).data)
                if leader := told.get("cluster", {}).get("leader"):
                    return leader
            await asyncio.sleep(0.1)


class Readings:
    """Answers that are being read at once."""

    def __init__(self, session: ClientSession, url: str) -> None:
        self.answers = [Answer() for _ in range(ANSWERS)]
        self.readers = [asyncio.create_task(answer.read(session, url)) for answer in self.answers]

    def have_begun(self) -> bool:
        return all(answer.text for answer in self.answers)

    def one_is_over(self) -> bool:
        return any(reader.done() for reader in self.readers)


async def under_way(session: ClientSession, mesh: RunningMesh, bus: Bus) -> tuple[Readings, str]:
    """Answers of which none is over, and the server that leads the stream of one.

    On a machine that stalls one may be whole before all have begun: then others are asked for.
    """
    while True:
        readings = Readings(session, mesh.url)
        await until(lambda reading=readings: reading.have_begun() or reading.one_is_over())
        leader = await leader_of(bus, readings.answers[0].task)
        if not readings.one_is_over():
            return readings, leader
        await asyncio.gather(*readings.readers)


async def outcome(session: ClientSession, mesh: RunningMesh, task: str) -> str:
    """How a task ended, as soon as its stream says so: readers hear of the end before the marker is stored."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            async with session.get(f"{mesh.url}/v1/tasks/{task}") as response:
                if response.status == 200 and (found := (await response.json())["outcome"]) is not None:
                    return found
            await asyncio.sleep(0.1)


async def test_a_server_that_is_killed_costs_no_word_of_a_running_answer(mesh: RunningMesh, bus: Bus) -> None:
    async with ClientSession(timeout=ClientTimeout(total=PATIENCE_S)) as session:
        readings, leader = await under_way(session, mesh, bus)
        killed = servers(mesh)[leader]
        os.kill(killed, signal.SIGKILL)
        await asyncio.gather(*readings.readers)

        for answer in readings.answers:
            assert answer.ids == sorted(set(answer.ids))
            assert len(answer.text.split()) == TOKENS
            assert await outcome(session, mesh, answer.task) == "completed"
    await until(lambda: servers(mesh).get(leader) not in {None, killed})


def test_its_broker_is_started_again_as_well(mesh: RunningMesh) -> None:
    before = descendants(mesh.up.pid)
    killed = next(pid for pid, name in before.items() if name == "broker")
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: not is_running(killed))
    wait_until(lambda: ours(descendants(mesh.up.pid)) == ours(before))
    wait_until(lambda: len(servers(mesh)) == SERVERS)


def ours(processes: dict[int, str]) -> list[str]:
    """All but the servers, which are counted by their names."""
    return sorted(name for name in processes.values() if name != "nats-server")


def test_commands_are_told_of_all_servers_and_find_every_stream_in_three_copies(mesh: RunningMesh) -> None:
    # After a death of a server some stream may still be looking for its leader.
    wait_until(lambda: mesh.place.ig3("streams", "check").returncode == 0)
    assert mesh.place.ok("chat", "hello").strip()
    erased = mesh.place.ig3("account", "erase", "local", "--reason", "a test", "--yes", "--cancel")
    assert erased.returncode == 0, erased.stderr
    assert "consensus logs" in erased.stderr


@pytest.mark.parametrize(
    ("stores", "arguments", "remedy"),
    [
        (("server-1", "server-2", "server-3"), (), "start with --cluster 3"),
        ((".",), ("--cluster", "3"), "start without --cluster"),
    ],
)
def test_streams_of_another_number_of_servers_are_not_left_behind(
    mesh: RunningMesh, tmp_path: Path, stores: tuple[str, ...], arguments: tuple[str, ...], remedy: str
) -> None:
    for store in stores:
        (tmp_path / store / "jetstream").mkdir(parents=True)
    told = mesh.place.ig3("up", "--engine", SYNTHETIC, "--data-dir", str(tmp_path), "--nats", ":0", *arguments)
    assert told.returncode == 1
    assert remedy in told.stderr
