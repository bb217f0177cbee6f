"""The test's side of a node's life: places tasks, answers questions, and reads what the node wrote."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from mesh.bus.appends import Fence
from mesh.bus.direct_client import Delivery
from mesh.bus.link import Link
from mesh.bus.task_log import TaskLog
from mesh.errors import FenceMismatch
from streams import subjects
from streams.codec import decode, encode
from streams.events import Seam, TaskAssigned, TaskChunk, TaskEvent
from streams.messages import Announce, Announced, Ask, Assign, Finished, NodeStatus, Refused, Standing, Stop
from streams.subjects import MESH, TaskKey
from streams.tasks.chat import Message, Sampling
from streams.tasks.task import Phase, Rejection, TaskState, advance
from streams.tasks.task_id import new_task_id
from streams.tokens import Token

PATIENCE_S = 30.0
POLL_S = 0.005
ACCOUNT = Token("local")
ME = "dispatcher-1"
ELSEWHERE = "node-2"

T = TypeVar("T")


async def until(found: Callable[[], T | None]) -> T:
    """Wait until something is there."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if value := found():
                return value
            await asyncio.sleep(POLL_S)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the stream says of one task. ``chunks`` are those that count."""

    state: TaskState
    chunks: tuple[TaskChunk, ...]
    last_sequence: int
    stored: int

    @property
    def text(self) -> str:
        return "".join(chunk.text for chunk in self.chunks)


@dataclass(kw_only=True)
class PlayedDispatcher:
    """Plays dispatcher and registry for one node."""

    link: Link
    node: Token
    hands_again: bool = True
    """Whether an Ask of a running attempt is answered by its assignment too, which renews the grant."""
    accepts: bool = True
    """Whether announcements are accepted."""
    mute: bool = False
    """Whether questions are heard, but not answered."""
    forgets_chars: int = 0
    """How many characters fewer than stored an answer to an Ask names."""
    finished: list[Finished] = field(default_factory=list[Finished])
    refused: list[Refused] = field(default_factory=list[Refused])
    asks: list[Ask] = field(default_factory=list[Ask])
    announced: list[Announce] = field(default_factory=list[Announce])
    statuses: list[NodeStatus] = field(default_factory=list[NodeStatus])
    assigned: dict[str, Assign] = field(default_factory=dict[str, Assign])
    _answering: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])

    async def start(self) -> None:
        self.log = TaskLog(self.link, 4)
        listen, api = self.link.listen, subjects.node_api_all
        await listen(api("finished"), lambda delivery: self.finished.append(decode(delivery.data, Finished)))
        await listen(api("refused"), lambda delivery: self.refused.append(decode(delivery.data, Refused)))
        await listen(subjects.STATUS_ALL, lambda delivery: self.statuses.append(decode(delivery.data, NodeStatus)))
        await listen(api("announce"), self._on_announce)
        await listen(api("ask"), self._on_ask)

    def new_task(self) -> TaskKey:
        return TaskKey(ACCOUNT, new_task_id())

    async def place(
        self,
        *,
        model: str = "synthetic",
        content: str = "hello",
        sampling: Sampling | None = None,
        key: TaskKey | None = None,
        deadline_at_ms: int | None = None,
        seam: Seam | None = None,
    ) -> TaskKey:
        """Write the next ``assigned`` marker and hand the task to the node."""
        key = key or self.new_task()
        marker, sequence, answer = await self._mark(key, seam)
        is_void = seam == "restarted"
        assign = Assign(
            account=key.account,
            task=key.task,
            attempt=marker.attempt,
            next_n=marker.n + 1,
            last_sequence=sequence,
            model=model,
            messages=(Message(role="user", content=content),),
            sampling=sampling or Sampling(),
            dispatcher=ME,
            prefix="" if is_void else answer.text,
            prefix_tokens=0 if is_void else answer.state.tokens,
            deadline_at_ms=deadline_at_ms,
            seam=seam,
        )
        self.assigned[key.task] = assign
        self.hand(key, assign)
        return key

    async def _mark(self, key: TaskKey, seam: Seam | None, node: str | None = None) -> tuple[TaskAssigned, int, Answer]:
        """Append the marker. What the node stores between reading and writing moves the fence: then look again."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                answer = await self.answer(key)
                state = answer.state
                marker = TaskAssigned(
                    n=state.n + 1,
                    at_ms=0,
                    attempt=state.attempt + 1,
                    node=node or self.node,
                    policy="test",
                    offset=0 if seam == "restarted" else state.chars,
                    seam=seam,
                )
                fence = Fence(subjects.results_of(key), answer.last_sequence)
                with contextlib.suppress(FenceMismatch):
                    sequence = await self.link.append(subjects.result(key, MESH), encode(marker), fence=fence)
                    return marker, sequence, answer

    async def hedge(self, key: TaskKey, *, model: str) -> Assign:
        """Have the node begin beside another one that has the task, out of sight."""
        await self._mark(key, None, node=ELSEWHERE)
        assign = Assign(
            account=key.account,
            task=key.task,
            attempt=2,
            next_n=0,
            last_sequence=0,
            model=model,
            messages=(Message(role="user", content="hello"),),
            sampling=Sampling(),
            dispatcher=ME,
            hedge=True,
        )
        self.link.send(subjects.node_inbox(self.node, "assign"), encode(assign))
        return assign

    async def give_away(self, key: TaskKey, text: str) -> Answer:
        """Give the task to another node, which writes ``text`` and is not done yet."""
        marker, _, answer = await self._mark(key, "continued", node=ELSEWHERE)
        chunk = TaskChunk(n=marker.n + 1, attempt=marker.attempt, offset=answer.state.chars, text=text, tokens=1)
        await self.append_foreign(key, ELSEWHERE, chunk)
        return await self.answer(key)

    def hand(self, key: TaskKey, assign: Assign) -> None:
        grant = subjects.result(key, self.node)
        self.link.send(subjects.node_inbox(self.node, "assign"), encode(assign), reply=grant)

    def stop(self, key: TaskKey, attempt: int = 1) -> None:
        words = encode(Stop(task=key.task, attempt=attempt, reason="test", account=key.account))
        self.link.send(subjects.node_inbox(self.node, "stop"), words)

    async def answer(self, key: TaskKey) -> Answer:
        """Fold what the stream holds."""
        state, chunks, last = TaskState(), list[TaskChunk](), 0
        stored = await self.log.read(key)
        for sequence, writer, event in stored:
            last = sequence
            following = advance(state, writer, event)
            if isinstance(following, Rejection):
                continue
            state = following
            if isinstance(event, TaskAssigned) and event.seam == "restarted":
                chunks.clear()
            if isinstance(event, TaskChunk):
                chunks.append(event)
        return Answer(state=state, chunks=tuple(chunks), last_sequence=last, stored=len(stored))

    async def report_of(self, key: TaskKey) -> Finished | Refused:
        """Wait for what the node says of the end of a task."""
        return await until(
            lambda: next((report for report in (*self.finished, *self.refused) if report.task == key.task), None)
        )

    async def whole(self, key: TaskKey) -> Answer:
        """Wait until the node says that it is done, and read the answer."""
        report = await self.report_of(key)
        assert isinstance(report, Finished), report
        answer = await self.answer(key)
        assert report.sequence == answer.last_sequence
        assert answer.state.phase is Phase.WRITTEN
        return answer

    async def chunks_stored(self, key: TaskKey, count: int) -> Answer:
        """Wait until so many chunks stand in the stream."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                answer = await self.answer(key)
                if len(answer.chunks) >= count:
                    return answer
                await asyncio.sleep(POLL_S)

    async def tokens_stored(self, key: TaskKey, count: int) -> Answer:
        """Wait until so many tokens stand in the stream, in however many chunks."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                answer = await self.answer(key)
                if answer.state.tokens >= count:
                    return answer
                await asyncio.sleep(POLL_S)

    async def append_foreign(self, key: TaskKey, writer: str, event: TaskEvent) -> int:
        """Store an event that minds no fence, as a broken writer could."""
        return await self.link.append(subjects.result(key, Token(writer)), encode(event))

    def ask_for_announcement(self) -> None:
        self.link.send(subjects.node_inbox(self.node, "registry"), b"")

    def _on_announce(self, delivery: Delivery) -> None:
        self.announced.append(decode(delivery.data, Announce))
        self.link.reply_to(delivery, encode(Announced(accepted=self.accepts, reason="" if self.accepts else "test")))

    def _on_ask(self, delivery: Delivery) -> None:
        ask = decode(delivery.data, Ask)
        self.asks.append(ask)
        if self.mute:
            return
        task = asyncio.create_task(self._answer_ask(delivery, ask))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer_ask(self, delivery: Delivery, ask: Ask) -> None:
        key = TaskKey(Token(ask.account), Token(ask.task))
        answer = await self.answer(key)
        state = answer.state
        is_open = state.phase in (Phase.RUNNING, Phase.WRITTEN)
        yours = state.node == self.node and state.attempt == ask.attempt and is_open
        n, last = state.n + 1, answer.last_sequence
        assign = self.assigned.get(ask.task)
        # A marker may be stored while `place` has not heard of it yet: then it is `place` that hands the attempt.
        if yours and self.hands_again and assign is not None and assign.attempt == ask.attempt:
            self.hand(key, msgspec.structs.replace(assign, next_n=n, last_sequence=last))
        standing = Standing(
            yours=yours,
            chars=state.chars - self.forgets_chars,
            next_n=n,
            last_sequence=last,
            written=state.phase is Phase.WRITTEN,
            undecided=ask.hedge and not yours and is_open and not state.chars,
        )
        self.link.reply_to(delivery, encode(standing))
