"""Writers that compete for the same tasks under the fence, and what must hold of the stream afterwards."""

import asyncio
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field

from mesh.bus.appends import Fence
from mesh.bus.headers import EXPECTED_LAST, header
from mesh.bus.link import Link
from mesh.errors import BusError, FenceMismatch, PublishUnknown
from mesh.history.ordered import OrderedReader
from mesh.history.stream_facts import Recorded, stream_facts
from streams import subjects
from streams.subjects import TaskKey
from streams.tasks.task_id import bucket_of
from streams.tokens import token
from streams.topology import results_stream
from tests.processes import until

STREAMS = 4
_PAUSE_S = 0.05


@dataclass(kw_only=True)
class Load:
    """What several writers have tried, and what the broker has told them."""

    keys: list[TaskKey]
    acked: dict[tuple[str, int], bytes] = field(default_factory=dict[tuple[str, int], bytes])
    """By stream and sequence: what was acknowledged there."""
    acked_at: list[float] = field(default_factory=list[float])
    by_writer: Counter[str] = field(default_factory=Counter[str])
    by_stream: Counter[str] = field(default_factory=Counter[str])
    refused: int = 0
    in_doubt: int = 0
    unread: int = 0
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def count(self) -> int:
        """How many appends were acknowledged."""
        return len(self.acked)

    @property
    def longest_gap_s(self) -> float:
        """The longest time in which nobody got an acknowledgement."""
        return max((later - at for at, later in zip(self.acked_at, self.acked_at[1:], strict=False)), default=0.0)

    async def more(self, count: int) -> None:
        """Wait until so many more appends were acknowledged."""
        wanted = self.count + count
        await until(lambda: self.count >= wanted)

    async def more_of_each(self, names: list[str], count: int) -> None:
        """Wait until so many more of each writer were acknowledged."""
        wanted = {name: self.by_writer[name] + count for name in names}
        await until(lambda: all(self.by_writer[name] >= total for name, total in wanted.items()))

    async def more_in_each_stream(self, count: int) -> None:
        """Wait until each stream that is written to has taken so many more."""
        wanted = {stream_of(key): self.by_stream[stream_of(key)] + count for key in self.keys}
        await until(lambda: all(self.by_stream[name] >= total for name, total in wanted.items()))

    async def write(self, link: Link, name: str) -> None:
        """Append to one task after another, as one of several writers, until it is told to stop.

        A refusal and a missing acknowledgement are questions: what the stream holds is the answer.
        """
        number = 0
        last: dict[TaskKey, int] = dict.fromkeys(self.keys, 0)
        while not self.stop.is_set():
            key = random.choice(self.keys)
            number += 1
            body = f"{name} {number}".encode()
            try:
                fence = Fence(subjects.results_of(key), last[key])
                sequence = await link.append(subjects.result(key, token(name)), body, fence=fence)
            except (FenceMismatch, PublishUnknown) as doubt:
                self.refused += isinstance(doubt, FenceMismatch)
                self.in_doubt += isinstance(doubt, PublishUnknown)
                last[key] = await self._look(link, key, last[key])
            else:
                self.acked[stream_of(key), sequence] = body
                self.by_writer[name] += 1
                self.by_stream[stream_of(key)] += 1
                self.acked_at.append(time.monotonic())
                last[key] = sequence
            await asyncio.sleep(0)

    async def _look(self, link: Link, key: TaskKey, known: int) -> int:
        """Where the task's last event stands, as one of the copies says: never before what is known."""
        while not self.stop.is_set():
            query = json.dumps({"last_by_subj": subjects.results_of(key)}).encode()
            try:
                answer = await link.request(f"$JS.API.DIRECT.GET.{stream_of(key)}", query)
            except BusError:
                self.unread += 1
                await asyncio.sleep(_PAUSE_S)
                continue
            return max(known, int(header(answer.headers, "Nats-Sequence") or 0))
        return known


def stream_of(key: TaskKey) -> str:
    """The stream that holds a task's events."""
    return results_stream(bucket_of(key.task), STREAMS)


async def stored(link: Link, stream: str, *, at_least: int) -> list[Recorded]:
    """Everything that a stream holds; `at_least` is a sequence that it has surely reached."""
    facts = await stream_facts(link, stream, at_least=at_least)
    found: list[Recorded] = []
    async with OrderedReader(link, stream) as reader:
        while not found or found[-1].sequence < max(facts.last_sequence, at_least):
            found += await reader.take(wait_s=1.0)
    return found


async def lost_and_broken(link: Link, load: Load) -> tuple[list[tuple[str, int]], list[str]]:
    """What was acknowledged and is not stored as it was; and events that did not follow the one they expected."""
    lost: list[tuple[str, int]] = []
    broken: list[str] = []
    for stream in {stream_of(key) for key in load.keys}:
        acked = {sequence: body for (name, sequence), body in load.acked.items() if name == stream}
        found = await stored(link, stream, at_least=max(acked, default=1))
        held = {event.sequence: event.data for event in found}
        lost += [(stream, sequence) for sequence, body in acked.items() if held.get(sequence) != body]
        broken += _broken(stream, found)
    return lost, broken


def _broken(stream: str, found: list[Recorded]) -> list[str]:
    last: dict[str, int] = {}
    broken: list[str] = []
    for event in found:
        family = event.subject.rpartition(".")[0]
        expected = header(event.headers, EXPECTED_LAST)
        if expected != str(last.get(family, 0)):
            broken.append(f"{stream} {event.sequence}: {family} expected {expected}, had {last.get(family, 0)}")
        last[family] = event.sequence
    return broken
