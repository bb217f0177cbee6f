"""What the broker does for one task, as small models: a stream with fences, a subject that holds one end, a queue."""

from dataclasses import dataclass, field

from streams.events import DeadKept, EndEvent, TaskAssigned, TaskChunk, TaskEvent
from streams.tasks.task import Rejection, TaskState, advance
from tests.unit.task_histories import Written

ALPHABET = "aé世🙂"
RUBBISH = "rubbish"


def truth(version: int, start: int, length: int) -> str:
    """The one right answer, at any place of it, so that a gap or a repeat shows.

    An answer that was restarted openly is another one: each restart begins a new version.
    """
    places = range(start, start + length)
    return "".join(ALPHABET[(place * place + version * (place + 1)) % len(ALPHABET)] for place in places)


@dataclass
class Stream:
    """RESULTS: stores in order, and refuses a fenced event whose writer has not seen the last one.

    Beside what is stored it keeps what a reader would have who misses nothing and is never late: the state after each
    stored event, what counted, and the text.
    """

    stored: list[Written] = field(default_factory=list[Written])
    states: list[TaskState] = field(default_factory=lambda: [TaskState()])
    counted: list[Written] = field(default_factory=list[Written])
    text: str = ""
    version: int = 0
    """How often the answer was begun anew."""
    is_fenced: bool = True

    @property
    def state(self) -> TaskState:
        """What all that is stored adds up to."""
        return self.states[-1]

    def append(self, writer: str, event: TaskEvent, *, expected: int | None) -> bool:
        """Store an event, unless its fence has moved."""
        if self.is_fenced and expected is not None and expected != len(self.stored):
            return False
        self.stored.append((writer, event))
        following = advance(self.state, writer, event)
        if isinstance(following, Rejection):
            self.states.append(self.state)
            return True
        self.states.append(following)
        self.counted.append((writer, event))
        self._write(event)
        return True

    def _write(self, event: TaskEvent) -> None:
        if isinstance(event, TaskChunk):
            self.text += event.text
        elif isinstance(event, TaskAssigned) and event.seam == "restarted":
            self.text, self.version = "", self.version + 1


@dataclass
class Ends:
    """ENDED: one message per subject, ever. The ledger charges what stands here."""

    stored: list[EndEvent] = field(default_factory=list[EndEvent])
    holds_one: bool = True

    def settle(self, end: EndEvent) -> EndEvent:
        """Store the end, or return the one that was first."""
        if not self.stored or not self.holds_one:
            self.stored.append(end)
        return self.stored[0] if self.holds_one else end


@dataclass
class DeadLetters:
    """DEAD, for this task: fenced on being empty."""

    stored: list[DeadKept] = field(default_factory=list[DeadKept])

    def keep(self, letter: DeadKept) -> None:
        """Keep a task that died, unless it is kept already."""
        if not self.stored:
            self.stored.append(letter)


@dataclass
class Queue:
    """TASKS and its consumer: one message, handed out again and again until somebody acknowledges it."""

    is_submitted: bool = False
    is_done: bool = False
    deliveries: int = 0

    def submit(self) -> None:
        """Store the submission; a second one on its subject is refused."""
        self.is_submitted = True

    def deliver(self) -> int:
        """Hand the message out, if there is anything to hand out; returns how often that has happened, or 0."""
        if not self.is_submitted or self.is_done:
            return 0
        self.deliveries += 1
        return self.deliveries


@dataclass
class World:
    """All of the broker that one task sees."""

    stream: Stream = field(default_factory=Stream)
    ends: Ends = field(default_factory=Ends)
    dead: DeadLetters = field(default_factory=DeadLetters)
    queue: Queue = field(default_factory=Queue)
