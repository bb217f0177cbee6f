"""Writers that append as the mesh does, fenced and to many streams at once, and note what was acknowledged."""

import asyncio
import contextlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from mesh.bus.appends import Fence
from mesh.bus.direct_client import Delivery
from mesh.bus.headers import SEQUENCE, STREAM_SUBJECT, header
from mesh.bus.link import Link
from mesh.bus.service_bus import Bus
from mesh.errors import BusError, NoResponders, RequestTimedOut
from streams import subjects
from streams.clock import now_ms
from streams.codec import encode
from streams.events import Event, TaskChunk, TaskError, TaskFailed, TaskSubmitted
from streams.subjects import TaskKey
from streams.tasks.chat import Message, Sampling
from streams.tasks.task_id import bucket_of, new_task_id
from streams.tokens import token
from streams.topology import ENDED, TASKS, Account, results_stream
from tests.processes import PATIENCE_S

NODE = token("n1")
_ACCOUNT = token("local")
_STREAMS = 4
_FEWEST, _MOST = 150, 400
"""Acknowledged events before the cut."""


class Acked(NamedTuple):
    """One event that the broker has acknowledged, and where it said it lies."""

    account: Account
    stream: str
    sequence: int
    subject: str
    data: bytes


@dataclass(kw_only=True)
class Writers:
    """Several chains of events that grow at once. After as many acknowledgements as `seed` says, `cut` is called.

    It is called from the read loop, between two acknowledgements: other appends are under way at that moment.
    """

    bus: Bus
    seed: int
    cut: Callable[[], None]
    noted: list[Acked] = field(default_factory=list[Acked])
    submitted: list[TaskKey] = field(default_factory=list[TaskKey])
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, count: int = 8) -> None:
        """Write until the cut."""
        chains = [asyncio.create_task(self._write(random.Random(f"{self.seed}/{one}"))) for one in range(count)]
        try:
            await asyncio.wait_for(self.over.wait(), PATIENCE_S)
        finally:
            for chain in chains:
                chain.cancel()
            await asyncio.gather(*chains, return_exceptions=True)

    async def _write(self, rng: random.Random) -> None:
        while not self.over.is_set():
            # After the cut appends fail, or are never answered; before it, not in time where this machine stood still.
            with contextlib.suppress(BusError):
                await self._submit()
                await self._answer(rng.randrange(1, 12), rng)

    async def _submit(self) -> None:
        key = TaskKey(_ACCOUNT, new_task_id())
        asked = TaskSubmitted(
            model="synthetic", messages=(Message(role="user", content="hello"),), sampling=Sampling(max_tokens=3)
        )
        if await self._append("EDGE", TASKS, subjects.submitted("standard", key), asked):
            self.submitted.append(key)

    async def _answer(self, chunks: int, rng: random.Random) -> None:
        key = TaskKey(_ACCOUNT, new_task_id())
        stream, last, offset = results_stream(bucket_of(key.task), _STREAMS), 0, 0
        for n in range(1, chunks + 1):
            text = "word " * rng.randrange(1, 40)
            chunk = TaskChunk(n=n, attempt=1, offset=offset, text=text)
            fence = Fence(subjects.results_of(key), last)
            last = await self._append("EDGE", stream, subjects.result(key, NODE), chunk, fence)
            offset += len(text)
        error = TaskError(code="none", message="none", status=500)
        end = TaskFailed(at_ms=now_ms(), model="synthetic", final_n=chunks, error=error)
        await self._append("CORE", ENDED, subjects.ended(key), end)

    async def _append(
        self, account: Account, stream: str, subject: str, event: Event, fence: Fence | None = None
    ) -> int:
        data = encode(event)
        sequence = await self.bus.links[account].append(subject, data, fence=fence)
        if self.over.is_set():
            return 0
        self.noted.append(Acked(account, stream, sequence, subject, data))
        if len(self.noted) == random.Random(self.seed).randrange(_FEWEST, _MOST):
            self.over.set()
            self.cut()
        return sequence


async def missing(bus: Bus, noted: list[Acked]) -> list[Acked]:
    """What was acknowledged and is not there now: same stream, same sequence, same subject, same bytes."""
    found = [await _is_there(bus, acked) for acked in noted]
    return [acked for acked, is_there in zip(noted, found, strict=True) if not is_there]


async def asked(link: Link, subject: str, query: bytes) -> Delivery:
    """What a stream says, asked until it answers: silence is no proof that something is lost."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(RequestTimedOut):
                return await link.request(subject, query)


async def _is_there(bus: Bus, acked: Acked) -> bool:
    query = json.dumps({"seq": acked.sequence}).encode()
    try:
        stored = await asked(bus.links[acked.account], f"$JS.API.DIRECT.GET.{acked.stream}", query)
    except NoResponders:
        # The whole stream was lost.
        return False
    where = header(stored.headers, STREAM_SUBJECT), header(stored.headers, SEQUENCE)
    return (*where, stored.data) == (acked.subject, str(acked.sequence), acked.data)
