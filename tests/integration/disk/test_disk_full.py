"""A whole mesh whose disk fills up while answers stream: nothing that was accepted is lost, and it heals by itself."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientResponse, ClientSession, ClientTimeout

import mesh as ig3
from mesh.client.client import Client
from mesh.errors import TaskRefused
from tests.http_gateway import Json, Sse, sse_events, text_of
from tests.loop_disk import LoopDisk
from tests.processes import PATIENCE_S
from tests.running_mesh import RunningMesh, running_up

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

OK = 200
READERS = 6
MIB = 1024 * 1024
TOKENS = 100


class FilledDisk:
    """A running mesh and the disk under its data folder."""

    def __init__(self, mesh: RunningMesh, disk: LoopDisk, session: ClientSession, client: Client) -> None:
        self.mesh = mesh
        self.disk = disk
        self.client = client
        self._session = session

    async def ask(self) -> ClientResponse:
        """Ask for an answer of `TOKENS` tokens, as a stream; it begins when the task is accepted."""
        body = {"model": "synthetic", "messages": [{"role": "user", "content": "hello"}], "max_tokens": TOKENS}
        return await self._session.post("/v1/chat/completions", json={**body, "stream": True})


class Reader:
    """Reads one answer to its end; `begun` is set when its first tokens are here."""

    def __init__(self, answer: ClientResponse) -> None:
        self.begun = asyncio.Event()
        self.text = asyncio.create_task(self._read(answer))

    async def _read(self, answer: ClientResponse) -> str:
        events: list[Sse] = []
        async for event in sse_events(answer):
            if event.data is not None:
                events.append(event)
                self.begun.set()
        return text_of(events)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[FilledDisk]:
    with LoopDisk(tmp_path / "disk", size_mib=96) as disk:
        data = disk.path / "data"
        flags = ("--engine", "synthetic", "--token-delay-ms", "30", "--data-dir", str(data))
        with running_up(tmp_path / "outside", *flags, variables={"IG3_CACHE_ROOM": "2MiB"}) as mesh:
            async with (
                ClientSession(mesh.url, timeout=ClientTimeout(total=PATIENCE_S)) as session,
                await ig3.connect(mesh.place.nats, data_dir=data) as client,
            ):
                yield FilledDisk(mesh, disk, session, client)


async def test_accepted_tasks_are_kept_new_ones_get_503_and_service_returns_by_itself(site: FilledDisk) -> None:
    readers = [Reader(await site.ask()) for _ in range(READERS)]
    await asyncio.gather(*(one.begun.wait() for one in readers))

    site.disk.fill_but(4 * MIB)
    more, refused = await accepted_until(site, 503)
    error: Json = (await refused.json())["error"]
    assert error["code"] == "store_full"
    assert error["type"] == "server_error"
    assert "no new tasks now" in error["message"]
    assert int(refused.headers["Retry-After"]) > 0

    site.disk.fill()
    with pytest.raises(TaskRefused, match="takes no new tasks now") as told:
        await submit_for_ever(site.client)
    assert (told.value.code, told.value.status) == ("store_full", 503)

    site.disk.make_room()
    answers = [await one.text for one in (*readers, *more)]
    _, served = await accepted_until(site, 200)
    assert answers == [await Reader(served).text] * len(answers)


async def submit_for_ever(client: Client) -> None:
    """On the bus nobody stands before the broker: it stores what still fits."""
    while True:
        await client.submit("synthetic", "Hello" * 100)


async def accepted_until(site: FilledDisk, status: int) -> tuple[list[Reader], ClientResponse]:
    """Ask until an answer has this status; what is accepted meanwhile is read as well."""
    accepted: list[Reader] = []
    async with asyncio.timeout(PATIENCE_S):
        while (answer := await site.ask()).status != status:
            if answer.status == OK:
                accepted.append(Reader(answer))
            await asyncio.sleep(0.2)
    return accepted, answer
