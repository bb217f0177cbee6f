"""One task on a small model of the mesh: a stream with fences, dispatchers that do not know of each other, nodes that
were replaced and write on, acknowledgements that get lost, and a reader who hears badly.

Every action takes plain numbers, so that hypothesis and seeded random schedules drive the same code.
"""

from dataclasses import dataclass, field

from streams.chat import Usage
from streams.events import Marker, TaskAssigned, TaskChunk, TaskEnded, TaskEvent, TaskHalted, TaskQueued
from streams.subjects import MESH
from streams.task import Phase, Rejection, TaskState, advance, fold
from tests.unit.task_histories import NODES, Written

ALPHABET = "aé世🙂"
RUBBISH = "rubbish"
USAGE = Usage(prompt_tokens=1, completion_tokens=1)


def truth(start: int, length: int) -> str:
    """The one right answer, at any place of it: so a gap or a repeat shows."""
    return "".join(ALPHABET[(place * place) % len(ALPHABET)] for place in range(start, start + length))


@dataclass
class Stream:
    """What the broker does: it stores in order, and refuses a fenced event whose writer has not seen the last one."""

    stored: list[Written] = field(default_factory=list)

    def append(self, writer: str, event: TaskEvent, *, expected: int | None) -> bool:
        if expected is not None and expected != len(self.stored):
            return False
        self.stored.append((writer, event))
        return True


@dataclass
class Dispatcher:
    """Writes markers, fenced on what it has read."""

    stream: Stream
    seen: int = 0
    state: TaskState = field(default_factory=TaskState)

    def read(self) -> None:
        self.state = fold(self.stream.stored[self.seen :], self.state)
        self.seen = len(self.stream.stored)

    def write(self, marker: Marker) -> None:
        if not isinstance(advance(self.state, MESH, marker), Rejection):
            self.stream.append(MESH, marker, expected=self.seen)
        self.read()


@dataclass
class Process:
    """A process of a node, with the one assignment that it was handed."""

    stream: Stream
    node: str
    attempt: int
    n: int
    chars: int
    expected: int
    is_stopped: bool = False

    def generate(self, length: int, *, is_last: bool, is_ack_lost: bool) -> None:
        if self.is_stopped:
            return
        stored = self.stream.append(self.node, self._chunk(truth(self.chars, length), is_last), expected=self.expected)
        if not stored or is_ack_lost:
            self.ask()
            return
        self.n, self.chars, self.expected = self.n + 1, self.chars + length, self.expected + 1
        self.is_stopped = is_last

    def ask(self) -> None:
        """Mine still, and where next? Answered from the stream."""
        state = fold(self.stream.stored)
        self.is_stopped = state.attempt != self.attempt or state.phase is not Phase.RUNNING
        self.n, self.chars, self.expected = state.n + 1, state.chars, len(self.stream.stored)

    def _chunk(self, text: str, is_last: bool) -> TaskChunk:
        return TaskChunk(
            n=self.n,
            attempt=self.attempt,
            offset=self.chars,
            text=text,
            tokens=1,
            finish_reason="stop" if is_last else None,
            usage=USAGE if is_last else None,
        )


@dataclass
class Reader:
    """Takes what it hears while that goes on from what it has; at a gap it folds the stream anew, in stream order.

    What stands before an event that counted is passed over: else a node could store words in advance, for an attempt
    that it hopes to get, and a reader who hears them late would see what the ledger does not.
    """

    stream: Stream
    state: TaskState = field(default_factory=TaskState)
    place: int = -1
    text: str = ""

    def hear(self, place: int) -> None:
        if place > self.place and self._apply(place) is Rejection.GAP:
            self.fetch()

    def fetch(self) -> None:
        self.state, self.place, self.text = TaskState(), -1, ""
        for place in range(len(self.stream.stored)):
            self._apply(place)

    def _apply(self, place: int) -> TaskState | Rejection:
        writer, event = self.stream.stored[place]
        following = advance(self.state, writer, event)
        if isinstance(following, TaskState):
            self.state, self.place = following, place
            self.text += event.text if isinstance(event, TaskChunk) else ""
        return following


class Mesh:
    """All of them together. A number that names a process or an event is taken modulo how many there are."""

    def __init__(self) -> None:
        self.stream = Stream()
        self.dispatchers = [Dispatcher(self.stream), Dispatcher(self.stream)]
        self.processes: list[Process] = []
        self.reader = Reader(self.stream)

    # --- what a faultless mesh does ------------------------------------------------------------------------------

    def read(self, who: int) -> None:
        self._dispatcher(who).read()

    def queue(self, who: int) -> None:
        dispatcher = self._dispatcher(who)
        dispatcher.write(TaskQueued(n=dispatcher.state.n + 1, at_ms=0, position=0, reason="no node"))

    def assign(self, who: int, where: int) -> None:
        dispatcher, node = self._dispatcher(who), NODES[where % len(NODES)]
        n, attempt, chars = dispatcher.state.n + 1, dispatcher.state.attempt + 1, dispatcher.state.chars
        dispatcher.write(TaskAssigned(n=n, at_ms=0, attempt=attempt, node=node, policy="any", offset=chars))
        if (dispatcher.state.n, dispatcher.state.attempt, dispatcher.state.node) == (n, attempt, node):
            self.processes.append(Process(self.stream, node, attempt, n + 1, chars, dispatcher.seen))

    def halt(self, who: int) -> None:
        dispatcher = self._dispatcher(who)
        dispatcher.write(TaskHalted(n=dispatcher.state.n + 1, at_ms=0, reason="cancelled"))

    def end(self, who: int) -> None:
        dispatcher = self._dispatcher(who)
        outcome = "completed" if dispatcher.state.phase is Phase.WRITTEN else "failed"
        dispatcher.write(TaskEnded(n=dispatcher.state.n + 1, at_ms=0, outcome=outcome))

    def generate(self, which: int, length: int, *, is_last: bool = False, is_ack_lost: bool = False) -> None:
        if self.processes:
            self._process(which).generate(length, is_last=is_last, is_ack_lost=is_ack_lost)

    # --- what goes wrong -----------------------------------------------------------------------------------------

    def write_on(self, which: int, ahead: int) -> None:
        """A process that was stopped or replaced writes without a fence, and may guess counter and offset."""
        state = fold(self.stream.stored)
        if not self.processes:
            return
        zombie = self._process(which)
        if zombie.attempt != state.attempt or state.phase is not Phase.RUNNING:
            event = TaskChunk(n=state.n + ahead, attempt=zombie.attempt, offset=state.chars, text=RUBBISH)
            self.stream.append(zombie.node, event, expected=None)

    def usurp(self, where: int, ahead: int, hope: int = 0) -> None:
        """A node that does not hold the assignment writes without a fence, perhaps for an attempt that it hopes for."""
        state = fold(self.stream.stored)
        node, attempt = NODES[where % len(NODES)], max(state.attempt + hope, 1)
        if (node, attempt) != (state.node, state.attempt):
            event = TaskChunk(n=state.n + ahead, attempt=attempt, offset=state.chars, text=RUBBISH)
            self.stream.append(node, event, expected=None)

    def misplace(self, which: int, astray: int) -> None:
        """A process that lost count of its words writes without a fence."""
        if self.processes:
            process, state = self._process(which), fold(self.stream.stored)
            event = TaskChunk(n=state.n + 1, attempt=process.attempt, offset=state.chars + astray, text=RUBBISH)
            self.stream.append(process.node, event, expected=None)

    def forge(self, where: int) -> None:
        """A node writes a marker, on the only subject where it can: its own."""
        marker = TaskEnded(n=fold(self.stream.stored).n + 1, at_ms=0, outcome="completed")
        self.stream.append(NODES[where % len(NODES)], marker, expected=None)

    def repeat(self, which: int) -> None:
        """Something that counted when it was stored, or was an honest try, is stored once more."""
        honest = [entry for entry in self.stream.stored if getattr(entry[1], "text", "") != RUBBISH]
        if honest:
            writer, event = honest[which % len(honest)]
            self.stream.append(writer, event, expected=None)

    # --- who listens ---------------------------------------------------------------------------------------------

    def hear(self, which: int) -> None:
        """The reader hears one event: any, again, or with others lost before it."""
        if self.stream.stored:
            self.reader.hear(which % len(self.stream.stored))

    def settle(self) -> None:
        """Another dispatcher takes over and brings the task to its end; the reader looks once more."""
        heir = Dispatcher(self.stream)
        heir.read()
        self.dispatchers = [heir, heir]
        if not heir.state.is_over:
            self.end(0)
        self.reader.fetch()

    def _dispatcher(self, which: int) -> Dispatcher:
        return self.dispatchers[which % len(self.dispatchers)]

    def _process(self, which: int) -> Process:
        return self.processes[which % len(self.processes)]
