"""Who acts on one task in the model: dispatchers that do not know of each other, processes of nodes, readers.

They do what the real ones do (`gateway/dispatcher`, `nodes`, `mesh/bus/answer.py`), each step on its own, so that a
schedule can put anything between two of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec.structs import replace

from streams.events import (
    AttemptFailure,
    DeadKept,
    EndEvent,
    Marker,
    Seam,
    TaskAssigned,
    TaskCancelled,
    TaskChunk,
    TaskCompleted,
    TaskDead,
    TaskError,
    TaskEvent,
    TaskFailed,
    TaskHalted,
    TaskQueued,
    TaskRequeued,
)
from streams.subjects import MESH
from streams.tasks.chat import Usage
from streams.tasks.task import Phase, Rejection, TaskState, advance, closing
from tests.unit.task_world import Stream, World, truth

MAX_FAILURES = 3
USAGE = Usage(prompt_tokens=1, completion_tokens=1)
CODES = ("node_lost", *("cannot_continue",) * 5)
"""It takes two of the second kind, and words before them, until an answer begins again."""


@dataclass
class Process:
    """A process of a node, with the one assignment that it was handed."""

    stream: Stream
    node: str
    attempt: int
    n: int
    chars: int
    expected: int
    version: int
    is_stopped: bool = False
    is_hidden: bool = False
    """Whether it began beside the node that has the task: it has words, and no right to write them."""
    behind: int = 0
    """How far its words lie before the place where it puts them: 0, unless it began elsewhere."""

    def generate(self, length: int, *, is_last: bool, is_ack_lost: bool) -> None:
        """Append a chunk; whoever is refused, or hears nothing, asks."""
        if self.is_stopped or self.is_hidden:
            return
        chunk = self._chunk(truth(self.version, self.chars - self.behind, length), is_last)
        if not self.stream.append(self.node, chunk, expected=self.expected) or is_ack_lost:
            self.ask()
            return
        self.n, self.chars, self.expected = self.n + 1, self.chars + length, self.expected + 1
        self.is_stopped = is_last

    def ask(self) -> None:
        """Mine still, and where next? Answered from the stream."""
        state = self.stream.state
        self.is_stopped = state.attempt != self.attempt or state.phase is not Phase.RUNNING
        self.n, self.chars, self.expected = state.n + 1, state.chars, len(self.stream.stored)

    def grant(self, n: int, chars: int, expected: int) -> None:
        """Be given the task that it has begun out of sight."""
        self.is_hidden = self.is_stopped = False
        self.behind = chars - self.chars
        self.n, self.chars, self.expected = n, chars, expected

    def _chunk(self, text: str, is_last: bool) -> TaskChunk:
        return TaskChunk(
            n=self.n,
            attempt=self.attempt,
            offset=self.chars,
            text=text,
            tokens=1,
            finish_reason="stop" if is_last else None,
            usage=USAGE if is_last else None,
            # No two nodes need count alike.
            prompt_tokens=100 + self.attempt,
        )


@dataclass
class Dispatcher:
    """Holds the task or not; writes markers under the fence of what it has read."""

    world: World
    processes: list[Process]
    holds: bool = False
    is_queued_for: bool = False
    """Whether the queue handed it the task, so that it acknowledges it at the end."""
    seen: int = 0
    state: TaskState = field(default_factory=TaskState)
    halts_what_waits: bool = True
    """Whether it settles nothing but what it has halted, though no node writes: a rival may just have assigned it."""
    minds_what_came_before: bool = True
    """Whether a node that began out of sight begins anew where its attempt goes on from another place."""

    # --- taking and losing the task ------------------------------------------------------------------------------

    def take(self) -> None:
        """Get the task from the queue. A first delivery has no past to read; after that an end may be there already."""
        deliveries = self.world.queue.deliver()
        if not deliveries:
            return
        self.forget()
        self.holds = self.is_queued_for = True
        if deliveries > 1:
            self.read()
            if self.world.ends.stored:
                self._close(self.world.ends.stored[0])

    def look_at(self) -> None:
        """Read the task without being handed it."""
        self.forget()
        self.holds = True
        self.read()

    def forget(self) -> None:
        """Know nothing of it any more."""
        self.holds = self.is_queued_for = False
        self.seen, self.state = 0, TaskState()

    def read(self) -> bool:
        """Fold what was stored since; whether a marker of somebody else is among it."""
        fresh = self.world.stream.stored[self.seen :]
        for writer, event in fresh:
            following = advance(self.state, writer, event)
            self.state = self.state if isinstance(following, Rejection) else following
        self.seen = len(self.world.stream.stored)
        return any(writer == MESH for writer, _ in fresh)

    # --- on the way ----------------------------------------------------------------------------------------------

    def queue(self, is_lost: bool = False) -> None:
        """Say that no node can take it now."""
        if self.holds and self.state.phase in (Phase.SUBMITTED, Phase.WAITING):
            self._write(lambda n: TaskQueued(n=n, at_ms=0, position=0, reason="no node"), is_lost)

    def assign(self, node: str, *, continues: bool, is_lost: bool = False) -> None:
        """Give it to a node, if it is nobody's."""
        if not self.holds or self.state.phase not in (Phase.SUBMITTED, Phase.WAITING) or self._is_exhausted:
            return
        seam, attempt = self._seam(continues), self.state.attempt + 1
        offset = 0 if seam == "restarted" else self.state.chars

        def make(n: int) -> Marker:
            return TaskAssigned(n=n, at_ms=0, attempt=attempt, node=node, policy="any", offset=offset, seam=seam)

        if self._write(make, is_lost):
            self.hand_over()

    def hand_over(self) -> None:
        """Send the order: the node starts, unless it has the attempt already."""
        state = self.state
        if not self.holds or state.phase is not Phase.RUNNING or state.node is None:
            return
        known = [process for process in self.processes if process.attempt == state.attempt]
        if (known := [process for process in known if process.node == state.node]) and not self._begins_anew(known[-1]):
            if known[-1].is_hidden:
                known[-1].grant(state.n + 1, state.chars, self.seen)
            return
        version, expected = self.world.stream.version, self.seen
        self.processes.append(
            Process(self.world.stream, state.node, state.attempt, state.n + 1, state.chars, expected, version)
        )

    def hedge(self, node: str) -> None:
        """Have a second node begin too, where the first one has written nothing of the answer."""
        state = self.state
        if self.holds and state.phase is Phase.RUNNING and not state.chars and node != state.node:
            begun = Process(self.world.stream, node, state.attempt + 1, 0, 0, 0, self.world.stream.version)
            begun.is_hidden = True
            self.processes.append(begun)

    def prefer(self, which: int, is_lost: bool = False) -> None:
        """A second node has words: give it the task, unless the first one has written by now."""
        state = self.state
        hidden = [each for each in self.processes if each.is_hidden and each.attempt == state.attempt + 1]
        hidden = [each for each in hidden if not each.is_stopped and each.node != state.node]
        if not self.holds or not hidden or state.phase is not Phase.RUNNING or state.chars:
            return
        second = hidden[which % len(hidden)]

        def make(n: int) -> Marker:
            return TaskAssigned(n=n, at_ms=0, attempt=second.attempt, node=second.node, policy="any")

        if self._write(make, is_lost, only_in=Phase.RUNNING):
            self.hand_over()

    def _begins_anew(self, known: Process) -> bool:
        fits = (known.chars, known.version) == (self.state.chars, self.world.stream.version)
        return known.is_hidden and self.minds_what_came_before and not (fits and not known.is_stopped)

    def requeue(self, why: int, is_lost: bool = False) -> None:
        """Void the attempt; a whole answer is none that could be void."""
        if not self.holds or self.state.phase is not Phase.RUNNING or self.state.node is None:
            return
        attempt, node, code = self.state.attempt, self.state.node, CODES[why % len(CODES)]
        self._write(
            lambda n: TaskRequeued(n=n, at_ms=0, attempt=attempt, node=node, code=code, message="", retry_at_ms=0),
            is_lost,
            only_in=Phase.RUNNING,
        )

    # --- ends ----------------------------------------------------------------------------------------------------

    def finish(self, dies_after: int = 0) -> None:
        """End a whole answer."""
        if not self.holds:
            return
        if self.state.phase is Phase.RUNNING and self.read():
            self.forget()
        if self.state.phase is Phase.WRITTEN:
            self._settle(_completed(self.state), dies_after)

    def fail(self, code: str, dies_after: int = 0) -> None:
        """End it with an error."""
        self._halt_and_end(TaskError(code=code, message="", status=504), dies_after)

    def cancel(self, dies_after: int = 0) -> None:
        """End it because nobody wants it."""
        self._halt_and_end(None, dies_after)

    def bring_to_an_end(self) -> None:
        """Do what a dispatcher does that is never interrupted and finds a node that is never lost."""
        if self.holds and self.state.phase is Phase.RUNNING:
            self.requeue(0)
        if self.holds and self.state.phase is Phase.WAITING and self._is_exhausted:
            self._die()
        elif self.holds and self.state.phase in (Phase.SUBMITTED, Phase.WAITING):
            self.assign("node-a", continues=True)
        if self.holds and self.state.phase is Phase.RUNNING:
            own = [each for each in self.processes if each.attempt == self.state.attempt and not each.is_hidden]
            own[-1].generate(2, is_last=True, is_ack_lost=False)
        self.finish()
        if self.holds and self.state.phase is Phase.HALTED:
            self._settle(_halted(self.state), 0)

    @property
    def _is_exhausted(self) -> bool:
        return len(self.state.failures) >= MAX_FAILURES

    def _die(self) -> None:
        self._halt_and_end(TaskError(code="attempts_exhausted", message="", status=502), 0)

    def _halt_and_end(self, error: TaskError | None, dies_after: int) -> None:
        if not self.holds or self.state.is_over:
            return
        if self.state.phase is not Phase.HALTED and (self.halts_what_waits or self.state.phase is Phase.RUNNING):
            self._write(lambda n: TaskHalted(n=n, at_ms=0, reason="cancelled", error=error))
        if dies_after == 1:
            self.forget()
        if not self.holds:
            return
        if self.state.phase is Phase.HALTED:
            self._settle(_halted(self.state), dies_after)
        elif not self.halts_what_waits and self.state.phase is not Phase.WRITTEN:
            self._settle(_halted(replace(self.state, error=error)), dies_after)

    def _settle(self, end: EndEvent, dies_after: int) -> None:
        holding = self.world.ends.settle(end)
        if dies_after == 2:
            self.forget()
        else:
            self._close(holding, is_killed=dies_after == 3)

    def _close(self, end: EndEvent, *, is_killed: bool = False) -> None:
        """Keep what died, tell the readers, acknowledge: each a step after which a kill finds the heir on its feet."""
        if isinstance(end, TaskDead):
            self.world.dead.keep(DeadKept(at_ms=0, model=end.model, error=end.error))
        marker = closing(end)
        if not self.state.is_over:
            self._write(lambda n: replace(marker, n=n))
        if self.holds and not is_killed and self.is_queued_for:
            self.world.queue.is_done = True
        self.forget()

    # --- writing -------------------------------------------------------------------------------------------------

    def _write(self, make: Callable[[int], Marker], is_lost: bool = False, *, only_in: Phase | None = None) -> bool:
        """Append a marker that can still follow; chunks only move the counter on, a foreign marker ends our part.

        Nobody hears of an event that is lost on the way: the writer looks, and does not find it.
        """
        while only_in in (None, self.state.phase):
            marker = make(self.state.n + 1)
            if isinstance(advance(self.state, MESH, marker), Rejection):
                return False
            stored = not is_lost and self.world.stream.append(MESH, marker, expected=self.seen)
            is_foreign = self.read()
            if stored:
                return True
            if is_foreign:
                self.forget()
            if is_foreign or is_lost:
                return False
        return False

    def _seam(self, continues: bool) -> Seam | None:
        if not self.state.chars:
            return None
        if self.state.failures and self.state.failures[-1].code == "cannot_continue":
            return "restarted" if self.state.seam == "replayed" else "replayed"
        return "continued" if continues else "replayed"


@dataclass
class Reader:
    """A user's end of a gateway: keeps a text and the last counter, drops the text where it is told to.

    It takes what it hears while that goes on from what it has; at a gap the gateway folds the stream anew, in stream
    order. What stands before an event that counted is passed over: else a node could store words in advance, for an
    attempt that it hopes to get, and a reader who hears them late would see what the ledger does not.
    """

    stream: Stream
    state: TaskState = field(default_factory=TaskState)
    place: int = -1
    text: str = ""
    drops_what_is_void: bool = True

    def hear(self, place: int) -> None:
        """Hear one stored event, live."""
        if place > self.place and self._apply(place) is Rejection.GAP:
            self.resume()

    def resume(self) -> None:
        """Be given the rest, by a gateway that knows nothing but the counter."""
        after, self.state, self.place = self.state.n, TaskState(), -1
        for place in range(len(self.stream.stored)):
            self._apply(place, after)

    def _apply(self, place: int, after: int = 0) -> TaskState | Rejection:
        writer, event = self.stream.stored[place]
        following = advance(self.state, writer, event)
        if isinstance(following, TaskState):
            self.state, self.place = following, place
            if following.n > after:
                self._show(event)
        return following

    def _show(self, event: TaskEvent) -> None:
        if isinstance(event, TaskChunk):
            self.text += event.text
        elif isinstance(event, TaskAssigned) and event.seam == "restarted" and self.drops_what_is_void:
            self.text = ""


def _completed(state: TaskState) -> TaskCompleted:
    return TaskCompleted(at_ms=0, model="any", final_n=state.n, finish_reason="stop", usage=USAGE, shares=state.shares)


def _halted(state: TaskState) -> EndEvent:
    """The end that a halted task gets, whoever settles it."""
    if state.error is None:
        return TaskCancelled(at_ms=0, model="any", final_n=state.n, reason=state.reason or "", shares=state.shares)
    if state.error.code != "attempts_exhausted":
        return TaskFailed(at_ms=0, model="any", final_n=state.n, error=state.error, shares=state.shares)
    failures: tuple[AttemptFailure, ...] = state.failures
    return TaskDead(at_ms=0, model="any", final_n=state.n, error=state.error, failures=failures, shares=state.shares)
