"""Many answers at once, and faults all the while; then the mesh gets quiet, and the log is read."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import ClientSession, TCPConnector

from mesh.client.client import Client, connect
from tests.chaos.answers import BusReader, HttpReader, Reader, Transcript, WebsocketReader
from tests.chaos.audit import Findings, TaskRecord, audit, open_streams, read_all
from tests.chaos.faults import Fault, Field, Injection
from tests.chaos.fleet import Fleet

QUIET_S = 120.0
_POLL_S = 0.2


@dataclass(frozen=True, kw_only=True)
class Load:
    """How much is asked for at once."""

    http_readers: int = 30
    websocket_readers: int = 10
    bus_readers: int = 10
    tokens: int = 60
    warm_up_tokens: int = 3
    """How many pieces every reader has before the first fault."""


@dataclass
class Outcome:
    """All that a campaign leaves."""

    transcripts: list[Transcript] = field(default_factory=list[Transcript])
    injections: list[Injection] = field(default_factory=list[Injection])
    records: dict[str, TaskRecord] = field(default_factory=dict[str, TaskRecord])
    findings: Findings = field(default_factory=Findings)

    @property
    def in_flight(self) -> int:
        """How many answers were not whole, as the log has it, when the first fault was injected."""
        at_ns = self.injections[0].at_ns
        return sum(record.written_at_ns is None or record.written_at_ns > at_ns for record in self.records.values())


class Campaign:
    """Readers ask one question after the other for as long as faults are injected."""

    def __init__(self, fleet: Fleet, load: Load, seed: int) -> None:
        self.outcome = Outcome()
        self._fleet = fleet
        self._load = load
        self._chance = random.Random(seed)
        self._is_on = True

    async def run(self, faults: Sequence[Fault], *, pause_s: float) -> Outcome:
        """Inject one fault after the other, let the answers end, and look at what is stored.

        Args:
            faults: in their order; one begins when ``pause_s`` have passed and the one before is made good.
            pause_s: from one fault to the next, give or take half.
        """
        async with self._open_readers() as readers:
            reading = [asyncio.create_task(self._read_on(number, reader)) for number, reader in enumerate(readers)]
            try:
                await self._until_warm(readers)
                await self._inject(faults, readers, pause_s)
                self._is_on = False
                await asyncio.gather(*reading)
            finally:
                for task in reading:
                    task.cancel()
                await asyncio.gather(*reading, return_exceptions=True)
        await self._look()
        return self.outcome

    async def burst(self, faults: Sequence[Fault]) -> Outcome:
        """Ask everything at once, inject faults when all are being answered, and let the answers end."""
        self._is_on = False
        return await self.run(faults, pause_s=0.0)

    async def _inject(self, faults: Sequence[Fault], readers: Sequence[Reader], pause_s: float) -> None:
        field_ = Field(fleet=self._fleet, readers=readers, chance=self._chance, note=self.outcome.injections.append)
        for fault in faults:
            await fault(field_)
            await asyncio.sleep(pause_s * self._chance.uniform(0.5, 1.5))

    async def _read_on(self, number: int, reader: Reader) -> None:
        """Read at least one answer."""
        turn = 0
        while turn == 0 or self._is_on:
            turn += 1
            transcript = await reader.read(f"question {number}.{turn}", self._load.tokens)
            self.outcome.transcripts.append(transcript)

    async def _until_warm(self, readers: Sequence[Reader]) -> None:
        async with asyncio.timeout(QUIET_S):
            for _ in iter(lambda: all(_has(reader, self._load.warm_up_tokens) for reader in readers), True):
                await asyncio.sleep(_POLL_S)

    @asynccontextmanager
    async def _open_readers(self) -> AsyncIterator[list[Reader]]:
        async with ClientSession(connector=TCPConnector(limit=0)) as session, await self._connect() as client:
            over_http = [HttpReader(session, self._fleet.url, number) for number in range(self._load.http_readers)]
            over_websocket = [
                WebsocketReader(session, self._fleet.url, number) for number in range(self._load.websocket_readers)
            ]
            yield [*over_http, *over_websocket, *(BusReader(client) for _ in range(self._load.bus_readers))]

    async def _connect(self) -> Client:
        place = self._fleet.parts.place
        return await connect(place.nats, data_dir=place.data_dir)

    async def _look(self) -> None:
        """Wait until nothing is owed any more, then read what is stored."""
        outcome = self.outcome
        async with open_streams(self._fleet.parts.place) as bus:
            give_up_at_s = asyncio.get_running_loop().time() + QUIET_S
            while True:
                outcome.records = await read_all(bus)
                is_quiet = all(record.state.is_over and record.ends for record in outcome.records.values())
                if is_quiet or asyncio.get_running_loop().time() > give_up_at_s:
                    break
                await asyncio.sleep(1.0)
        outcome.findings = await audit(outcome.records, outcome.transcripts)


def _has(reader: Reader, pieces: int) -> bool:
    return reader.now is not None and (len(reader.now.arrivals_s) > pieces or reader.now.is_whole)
