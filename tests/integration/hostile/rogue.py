"""A node that was rightly given a task and then does as it likes; and what everybody believes of that task."""

import asyncio
import itertools
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from msgspec.structs import replace

from gateway.dispatcher.ending import stored_end
from mesh.bus.answer import AnswerText, follow
from mesh.errors import BusError
from mesh.history.stream_facts import last_message
from mesh.identity.chunk_proof import sign_chunks
from streams import subjects
from streams.codec import decode, encode
from streams.devices.probe import Probed
from streams.errors import UndecodableEvent
from streams.events import EndEvent, TaskChunk, TaskCompleted
from streams.messages import (
    Announce,
    Announced,
    Ask,
    Assign,
    Finished,
    NodeStatus,
    Refused,
    Replica,
    Running,
    Standing,
)
from streams.subjects import TaskKey
from streams.tasks import chunk_chain
from streams.tasks.chat import Usage
from streams.tasks.task_id import bucket_of
from streams.tokens import token
from streams.topology import results_stream
from tests.identity_in_process import connect_device, device_did, device_key
from tests.mesh_in_process import LIMIT_S, InProcessMesh

if TYPE_CHECKING:
    from mesh.bus.direct_client import Delivery

REPORT_S = 0.2
PATIENCE_S = 20.0
"""The silence that a rogue asks for: on a busy machine its reports come late, and it must not be given up for that."""
HONEST = "one two"
FAST = 1000.0
"""What a rogue claims, so that it gets tasks before an honest node."""


class Rogue:
    """Announces a model of its own name, reports as a good node does, and leaves every chunk to the test."""

    def __init__(
        self, mesh: InProcessMesh, name: str, *models: str, tokens_per_s: float | None = None, engine: str = "synthetic"
    ) -> None:
        self.node = token(name)
        self._tokens_per_s = tokens_per_s
        self._engine = engine
        self.models = models or (name,)
        self._mesh = mesh
        self._orders: asyncio.Queue[Delivery] = asyncio.Queue()
        self._running: dict[str, Running] = {}
        self._reporting: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.link = await connect_device(self._mesh.server, self.node)
        await self.link.listen(subjects.node_inbox(self.node, "assign"), self._orders.put_nowait)
        works = encode(Probed(works=True))
        await self.link.listen(subjects.node_inbox(self.node, "probe"), lambda asked: self.link.reply_to(asked, works))
        self._reporting = asyncio.create_task(self._report())
        await self._announce()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._reporting is not None:
            self._reporting.cancel()
        await self.link.close()

    async def _announce(self) -> None:
        replicas = tuple(
            Replica(model=model, engine=self._engine, context_tokens=4096, slots=64, tokens_per_s=self._tokens_per_s)
            for model in self.models
        )
        words = encode(Announce(software="rogue", replicas=replicas))
        async with asyncio.timeout(LIMIT_S):
            while True:
                try:
                    answer = await self.link.request(subjects.node_api(self.node, "announce"), words)
                    if decode(answer.data, Announced).accepted:
                        return
                except BusError:
                    await asyncio.sleep(0.1)

    async def _report(self) -> None:
        for tokens in itertools.count(1):
            # Each report shows progress, so that nobody takes a slow test for a node that hangs.
            running = tuple(replace(entry, tokens=tokens) for entry in self._running.values())
            status = NodeStatus(at_ms=0, interval_s=PATIENCE_S, running=running)
            self.link.send(subjects.status(self.node), encode(status))
            await asyncio.sleep(REPORT_S)

    async def ask(self, attempt: "Assignment") -> Standing:
        """Ask where an attempt stands, until somebody answers; the right to write comes again with an order."""
        question = Ask(account=attempt.key.account, task=attempt.key.task, attempt=attempt.order.attempt)
        async with asyncio.timeout(LIMIT_S):
            while True:
                try:
                    answer = await self.link.request(subjects.node_api(self.node, "ask"), encode(question))
                    return decode(answer.data, Standing)
                except (BusError, UndecodableEvent):
                    await asyncio.sleep(0.1)

    async def take(self, key: TaskKey) -> "Assignment":
        """Wait until the task is given to this node; orders of other tasks, and repeated ones, are dropped."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                delivery = await self._orders.get()
                order = _order(delivery)
                if order is not None and order.task == key.task:
                    self._running[order.task] = Running(task=order.task, attempt=order.attempt, model=order.model)
                    return Assignment(self, key, order, delivery.reply)

    def forget(self, task: str) -> None:
        """Report the task no more."""
        self._running.pop(task, None)


def _order(delivery: "Delivery") -> Assign | None:
    """Read an order; None for what somebody else has led here."""
    try:
        return decode(delivery.data, Assign)
    except UndecodableEvent:
        return None


@dataclass
class Assignment:
    """One attempt in the hands of a rogue. ``put`` writes anything at all where the attempt may write."""

    rogue: Rogue
    key: TaskKey
    order: Assign
    subject: str
    good: list[TaskChunk] = field(default_factory=list[TaskChunk])
    """What it has written as an honest node would, and signs for."""

    async def put(self, body: bytes, headers: bytes = b"") -> dict[str, object]:
        """Publish and return the broker's acknowledgement, whatever it says."""
        return json.loads((await self.rogue.link.request(self.subject, body, headers=headers)).data)

    def chunk(self, text: str, *, n: int, offset: int, attempt: int | None = None, last: bool = False) -> bytes:
        """Make a chunk, right or wrong; the last one is signed as if it were right."""
        chunk = TaskChunk(
            n=n,
            attempt=self.order.attempt if attempt is None else attempt,
            offset=offset,
            text=text,
            tokens=1,
            finish_reason="stop" if last else None,
            usage=self.usage() if last else None,
        )
        return encode(self.signed(chunk) if last else chunk)

    def good_chunk(self, text: str, *, n: int, offset: int, last: bool = False) -> bytes:
        """Make one that counts, and for which the last one signs too."""
        body = self.chunk(text, n=n, offset=offset, last=last)
        self.good.append(decode(body, TaskChunk))
        return body

    def usage(self) -> Usage:
        """What an honest node would say of an answer that ends with one more chunk."""
        tokens = self.order.prefix_tokens + sum(chunk.tokens for chunk in self.good) + 1
        return Usage(prompt_tokens=1, completion_tokens=tokens)

    def signed(self, last: TaskChunk, by: str | None = None) -> TaskChunk:
        """Sign for all that was written well and ``last``, with the key of this node or that of the device ``by``."""
        name = by or self.rogue.node
        begin = chunk_chain.begin(self.key, self.order.attempt, self.rogue.node)
        head = chunk_chain.extend_all(begin, (*self.good, last))
        return replace(last, signature=sign_chunks(device_did(name), device_key(name), head))

    async def write(self, text: str, *, n: int, offset: int, last: bool = False) -> None:
        """Write a good chunk, without any fence."""
        answer = await self.put(self.good_chunk(text, n=n, offset=offset, last=last))
        assert "error" not in answer, answer

    def finished(self) -> None:
        """Say that the answer is whole."""
        report = Finished(task=self.key.task, attempt=self.order.attempt, dispatcher=self.order.dispatcher, sequence=0)
        self.rogue.link.send(subjects.node_api(self.rogue.node, "finished"), encode(report))
        self.rogue.forget(self.key.task)

    def refuse(self) -> None:
        """Give the attempt back."""
        report = Refused(
            task=self.key.task,
            attempt=self.order.attempt,
            dispatcher=self.order.dispatcher,
            code="node_stopping",
            message="going",
        )
        self.rogue.link.send(subjects.node_api(self.rogue.node, "refused"), encode(report))
        self.rogue.forget(self.key.task)


class Onlooker:
    """A reader that has followed the task from its beginning."""

    def __init__(self, mesh: InProcessMesh, key: TaskKey) -> None:
        self._mesh = mesh
        self.key = key
        self._reading = asyncio.create_task(_read(mesh, key))

    async def believes(self) -> str:
        """Wait for the end: what was seen live, what a late reader sees and what ENDED says must be one story."""
        async with asyncio.timeout(LIMIT_S):
            seen = await self._reading
            late = await _read(self._mesh, self.key)
        assert seen == late
        end = await stored_end(self._mesh.bus, self.key)
        assert end is not None
        assert_tells(end, seen)
        return seen


async def _read(mesh: InProcessMesh, key: TaskKey) -> str:
    text, outcome = AnswerText(), ""
    async for steps in follow(mesh.bus.source, key):
        text.take(steps)
        outcome = steps[-1].state.outcome or "" if steps else outcome
    return f"{outcome}: {text}"


def assert_tells(end: EndEvent, seen: str) -> None:
    """The terminal event and the reader's story agree on the outcome and on the length of the text."""
    outcome, _, text = seen.partition(": ")
    assert isinstance(end, TaskCompleted) == (outcome == "completed")
    assert sum(share.chars for share in end.shares) == len(text)


async def landed(mesh: InProcessMesh, key: TaskKey, *, count: int) -> None:
    """Wait until so many messages stand on the task's subjects behind its first marker, whatever they are."""
    stream = results_stream(bucket_of(key.task), mesh.bus.options.results_streams)
    first = (await mesh.bus.log.read_writer(key, subjects.MESH))[0].sequence
    async with asyncio.timeout(LIMIT_S):
        while True:
            newest = await last_message(mesh.bus.edge, stream, subjects.results_of(key))
            if newest is not None and newest.sequence >= first + count:
                return
            await asyncio.sleep(0.02)
