"""A mesh whose dispatcher and node follow a script: real events, with fences, on a real broker with our nats.conf.

What a client sees of a mesh is what stands in the streams, so tests of clients write exactly that, at their own pace.
"""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Self

import msgspec

from mesh.broker.files import BrokerOptions
from mesh.broker.server import EmbeddedServer
from mesh.bus.appends import Fence
from mesh.bus.direct_client import Delivery
from mesh.bus.headers import CONTENT_TYPE, header
from mesh.bus.link import Link
from mesh.bus.provision import provision
from mesh.bus.service_bus import Bus, BusOptions
from mesh.bus.work import Work, WorkQueue
from mesh.client.options import ClientOptions
from mesh.config.address import Address
from mesh.errors import BusError, FenceMismatch, SubjectTaken
from streams import subjects
from streams.codec import JSON_CONTENT_TYPE, decode, decode_task_event, encode, encode_json
from streams.consumers import consumer_name, consumer_specs
from streams.events import (
    EndEvent,
    Outcome,
    TaskAssigned,
    TaskCancelled,
    TaskChunk,
    TaskCompleted,
    TaskEnded,
    TaskError,
    TaskEvent,
    TaskFailed,
    TaskRequeued,
    TaskSubmitted,
)
from streams.messages import Backlog, Cancel, CancelOutcome, EventsPage, EventsRequest, Refusal, StoredEvent
from streams.subjects import MESH, SERVICE_CLASSES, TaskKey
from streams.tasks.chat import Usage
from streams.tasks.task import fold
from streams.tasks.task_id import parse_task_id
from streams.tokens import Token
from streams.topology import TASKS, stream_specs

NODE = Token("n1")
OTHER_NODE = Token("n2")
DISPATCHER = Token("scripted")
WORDS = tuple(f"word{number} " for number in range(40))
LOCAL = Token("local")
VOID = "void "
"""What is written before an answer begins again."""


class RestartableBroker:
    """The broker of `ig3 broker`, always at the same address and on the same store."""

    def __init__(self, folder: Path) -> None:
        self.server = EmbeddedServer(
            BrokerOptions(data_dir=folder, listen=Address("127.0.0.1", 0), durability="process")
        )

    async def start(self) -> None:
        await self.server.__aenter__()

    async def stop(self) -> None:
        """End it in good order; ``start`` brings it back."""
        await self.server.__aexit__(None, None, None)
        stopped = self.server
        self.server = EmbeddedServer(msgspec.structs.replace(stopped._options, listen=stopped.address))

    async def kill(self) -> None:
        """End it by SIGKILL; it is started again at once, as `ig3 broker` does."""
        restarts = self.server.restarts
        assert self.server.pid is not None
        os.kill(self.server.pid, signal.SIGKILL)
        # A process of somebody else: there is nothing to wait on but its number.
        while self.server.restarts == restarts or self.server.pid is None:  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.01)


class ScriptedMesh:
    """Answers every task with ``words``; tests steer it by its attributes."""

    def __init__(self, folder: Path, broker: RestartableBroker) -> None:
        self.folder = folder
        self.broker = broker
        self.url = broker.server.url
        self.credentials = broker.server.credentials
        self.page_size = 7
        self._cancelled: set[str] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._answering: set[asyncio.Task[None]] = set()
        self._queues: list[WorkQueue] = []
        self._as_at_first()

    def _as_at_first(self) -> None:
        self.words = WORDS
        self.decisions: list[str] = []
        """What tasks under a schema are answered with instead, one after the other, while there are some."""
        self.pause_after: int | None = None
        """After this many chunks every answer waits for ``go``."""
        self.go = asyncio.Event()
        self.paused = asyncio.Event()
        self.restart_after: int | None = None
        """After this many chunks another node begins every answer again: once `restart` is set."""
        self.restart = asyncio.Event()
        self.backlog: Backlog | None = Backlog(at_ms=0, interval_s=1)
        """What the dispatcher says that it holds; None: it says nothing."""
        self.error: TaskError | None = None
        """What every task fails with, once its words are written."""
        self.is_silent = False
        """Whether no question of a user is answered."""
        self.submitted: list[TaskSubmitted] = []
        self.questions: list[str] = []

    async def begin_anew(self) -> None:
        """End all answers, and be as at first: for tests that share a mesh."""
        self.pause_after = None
        self.go.set()
        self.restart.set()
        await self._all_taken()
        await asyncio.gather(*self._answering, return_exceptions=True)
        self._as_at_first()

    async def _all_taken(self) -> None:
        """Wait until there is no task that we have not been handed: it would count as one of those to come."""
        for service_class in SERVICE_CLASSES:
            subject = f"$JS.API.CONSUMER.INFO.{TASKS}.{consumer_name(service_class)}"
            async with asyncio.timeout(30):
                while True:
                    if not json.loads((await self.bus.edge.request(subject, b"")).data)["num_pending"]:
                        break
                    await asyncio.sleep(0.01)

    @property
    def user(self) -> ClientOptions:
        """How a user's client connects here."""
        return ClientOptions(servers=(self.url,), account=LOCAL, seed_file=self.credentials.user.seed_path)

    async def connect(self, name: str) -> Bus:
        """Connect as a service, with connections of its own; the caller closes it."""
        options = BusOptions(
            servers=(self.url,),
            name=name,
            edge_seed=self.credentials.edge_service.seed_path,
            core_seed=self.credentials.core_service.seed_path,
        )
        return await Bus.connect(options)

    async def __aenter__(self) -> Self:
        self.bus = await self.connect("scripted")
        await provision(self.bus.links, stream_specs(), consumer_specs())
        for service_class in SERVICE_CLASSES:
            queue = WorkQueue(self.bus.edge, TASKS, consumer_name(service_class), self._on_work, window=16)
            await queue.start()
            self._queues.append(queue)
        await self.bus.edge.listen(subjects.user_api_all("events"), self._on_events)
        # Users ask in EDGE, gateways in CORE.
        for link in (self.bus.edge, self.bus.core):
            await link.listen(subjects.user_api_all("cancel"), partial(self._on_cancel, link))
        self._start(self._report_on())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        for queue in self._queues:
            await queue.stop()
        await self.bus.close()

    def report(self) -> None:
        """Say what the dispatcher holds."""
        if self.backlog is not None:
            self.bus.core.send(subjects.backlog(DISPATCHER), encode(self.backlog))

    async def _report_on(self) -> None:
        while True:
            self.report()
            await asyncio.sleep(0.5)

    # --- writing ---------------------------------------------------------------------------------------------------

    async def append(self, key: TaskKey, writer: Token, event: TaskEvent) -> None:
        """Store an event behind what is there, whatever the broker goes through meanwhile."""
        while True:
            try:
                stored = await self.bus.log.read(key)
                if fold((one.writer, one.event) for one in stored).n >= event.n:
                    return
                fence = Fence(subjects.results_of(key), stored[-1].sequence if stored else 0)
                await self.bus.edge.append(subjects.result(key, writer), encode(event), fence=fence)
                return
            except (BusError, FenceMismatch):
                await asyncio.sleep(0.05)

    async def end(self, key: TaskKey, n: int, end: EndEvent, outcome: Outcome, error: TaskError | None = None) -> None:
        """Write the fact, then the marker."""
        with contextlib.suppress(SubjectTaken):
            await self.bus.core.append(subjects.ended(key), encode(end))
        await self.append(key, MESH, TaskEnded(n=n, at_ms=0, outcome=outcome, error=error))

    def _on_work(self, work: Work) -> None:
        answering = self._start(self._answer(work))
        self._answering.add(answering)
        answering.add_done_callback(self._answering.discard)

    async def _answer(self, work: Work) -> None:
        key = subjects.parse_submitted(work.subject).key
        submitted = decode(work.data, TaskSubmitted, content_type=header(work.headers, CONTENT_TYPE))
        self.submitted.append(submitted)
        await self.append(key, MESH, TaskAssigned(n=1, at_ms=0, attempt=1, node=NODE, policy="script"))
        n = 1
        if self.restart_after is not None:
            n = await self._write_in_vain(key, self.restart_after)
        node, attempt = (NODE, 1) if self.restart_after is None else (OTHER_NODE, 2)
        offset = 0
        words = (self.decisions.pop(0),) if submitted.format is not None and self.decisions else self.words
        for number, word in enumerate(words, 1):
            if key.task in self._cancelled:
                break
            n += 1
            await self.append(
                key, node, self._chunk(n, offset, word, attempt, number if number == len(words) else None)
            )
            offset += len(word)
            if number == self.pause_after:
                self.paused.set()
                await self.go.wait()
        await self._finish(key, submitted, n)
        work.done()

    async def _write_in_vain(self, key: TaskKey, chunks: int) -> int:
        """Write the beginning of an answer that is void afterwards; returns the counter of the new assignment."""
        for number in range(chunks):
            text = VOID
            await self.append(
                key, NODE, TaskChunk(n=2 + number, attempt=1, offset=number * len(text), text=text, tokens=1)
            )
        await self.restart.wait()
        gone = TaskRequeued(
            n=2 + chunks, at_ms=0, attempt=1, node=NODE, code="node_lost", message="gone", retry_at_ms=0
        )
        await self.append(key, MESH, gone)
        again = TaskAssigned(
            n=3 + chunks, at_ms=0, attempt=2, node=OTHER_NODE, policy="script", seam="restarted" if chunks else None
        )
        await self.append(key, MESH, again)
        return again.n

    def _chunk(self, n: int, offset: int, word: str, attempt: int, last: int | None) -> TaskChunk:
        """A word; ``last`` is how many there were, with the last of them."""
        if last is None:
            return TaskChunk(n=n, attempt=attempt, offset=offset, text=word, tokens=1)
        usage = Usage(prompt_tokens=3, completion_tokens=last)
        return TaskChunk(n=n, attempt=attempt, offset=offset, text=word, tokens=1, finish_reason="stop", usage=usage)

    async def _finish(self, key: TaskKey, submitted: TaskSubmitted, n: int) -> None:
        model = submitted.model
        if key.task in self._cancelled:
            cancelled = TaskCancelled(at_ms=0, model=model, final_n=n, reason="asked")
            await self.end(key, n + 1, cancelled, "cancelled")
        elif self.error is not None:
            await self.end(
                key, n + 1, TaskFailed(at_ms=0, model=model, final_n=n, error=self.error), "failed", self.error
            )
        else:
            usage = Usage(prompt_tokens=3, completion_tokens=len(self.words))
            completed = TaskCompleted(at_ms=0, model=model, final_n=n, finish_reason="stop", usage=usage, shares=())
            await self.end(key, n + 1, completed, "completed")

    # --- answering users -------------------------------------------------------------------------------------------

    def _on_events(self, delivery: Delivery) -> None:
        self.questions.append(delivery.subject)
        if not self.is_silent:
            self._start(self._page(delivery))

    async def _page(self, delivery: Delivery) -> None:
        account = subjects.parse_call(delivery.subject).caller
        content_type = header(delivery.headers, CONTENT_TYPE)
        request = decode(delivery.data, EventsRequest, content_type=content_type)
        stored = await self.bus.log.read_bytes(TaskKey(account, parse_task_id(request.task)))
        if not stored:
            refusal = Refusal(code="task_not_found", message=f"there is no task {request.task}", status=404)
            self.bus.edge.reply_to(delivery, encode(refusal))
            return
        wanted = [one for one in stored if decode_task_event(one.data).n > request.after]
        as_json = content_type == JSON_CONTENT_TYPE
        page = EventsPage(
            task=request.task,
            events=tuple(
                StoredEvent(sequence=one.sequence, writer=one.writer, body=_body(one.data, as_json=as_json))
                for one in wanted[: self.page_size]
            ),
            more=len(wanted) > self.page_size,
        )
        self.bus.edge.reply_to(delivery, encode_json(page) if as_json else encode(page))

    def _on_cancel(self, link: Link, delivery: Delivery) -> None:
        request = decode(delivery.data, Cancel)
        self._cancelled.add(request.task)
        self.go.set()
        link.reply_to(delivery, encode(CancelOutcome(task=request.task, outcome="cancelled")))

    def _start(self, work: object) -> asyncio.Task[None]:
        assert asyncio.iscoroutine(work)
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task


def _body(data: bytes, *, as_json: bool) -> msgspec.Raw:
    return msgspec.Raw(encode_json(decode_task_event(data)) if as_json else data)


@contextlib.asynccontextmanager
async def scripted_mesh(folder: Path) -> AsyncIterator[ScriptedMesh]:
    """Run a broker and a scripted mesh on it."""
    broker = RestartableBroker(folder)
    await broker.start()
    try:
        async with ScriptedMesh(folder, broker) as mesh:
            yield mesh
    finally:
        await broker.stop()
