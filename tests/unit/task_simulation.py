"""One task on a small model of the mesh, faults included; see `task_world.py` for the parts it is made of.

Every action takes plain numbers, so that hypothesis and seeded random schedules drive the same code. A number that
names a dispatcher, a process, a reader or an event is taken modulo how many there are.
"""

from dataclasses import dataclass, field

from streams.events import TaskChunk, TaskEnded
from streams.subjects import MESH
from streams.tasks.task import Phase
from tests.unit.task_actors import Dispatcher, Process, Reader
from tests.unit.task_histories import NODES
from tests.unit.task_world import RUBBISH, World

DISPATCHERS = 3
READERS = 2


@dataclass
class Mesh:
    """All of them together, with one task that somebody submits."""

    world: World = field(default_factory=World)
    processes: list[Process] = field(default_factory=list[Process])

    def __post_init__(self) -> None:
        self.dispatchers = [Dispatcher(self.world, self.processes) for _ in range(DISPATCHERS)]
        self.readers = [Reader(self.world.stream) for _ in range(READERS)]

    # --- what a faultless mesh does ------------------------------------------------------------------------------

    def submit(self) -> None:
        """A user submits the task, perhaps again because no acknowledgement came."""
        self.world.queue.submit()

    def deliver(self, who: int) -> None:
        """The queue hands the task to a dispatcher: the first time, or because nobody has acknowledged it in time."""
        self._dispatcher(who).take()

    def queue(self, who: int, is_lost: bool = False) -> None:
        """A dispatcher finds no node."""
        self._dispatcher(who).queue(is_lost)

    def assign(self, who: int, where: int, is_lost: bool = False) -> None:
        """A dispatcher gives the task to a node, which starts a process."""
        self._dispatcher(who).assign(NODES[where % len(NODES)], continues=where % 2 == 0, is_lost=is_lost)

    def hand_over(self, who: int) -> None:
        """A dispatcher that took over sends the order once more, in case that the node never had it."""
        self._dispatcher(who).hand_over()

    def hedge(self, who: int, where: int) -> None:
        """A dispatcher finds the first word late, and has a second node begin."""
        self._dispatcher(who).hedge(NODES[where % len(NODES)])

    def prefer(self, who: int, which: int, is_lost: bool = False) -> None:
        """A second node has words."""
        self._dispatcher(who).prefer(which, is_lost)

    def generate(self, which: int, length: int, *, is_last: bool = False, is_ack_lost: bool = False) -> None:
        """A process writes what it has generated."""
        if self.processes:
            self._process(which).generate(length, is_last=is_last, is_ack_lost=is_ack_lost)

    def finish(self, who: int, dies_after: int = 0) -> None:
        """A dispatcher sees the whole answer and ends the task; it may be killed after any step of that."""
        self._dispatcher(who).finish(dies_after)

    # --- what ends an attempt or the task ------------------------------------------------------------------------

    def refuse(self, which: int) -> None:
        """A process gives its attempt up."""
        if self.processes:
            self._process(which).is_stopped = True

    def requeue(self, who: int, why: int, is_lost: bool = False) -> None:
        """A dispatcher takes the attempt for lost, rightly or not, and another shall follow."""
        self._dispatcher(who).requeue(why, is_lost)

    def expire(self, who: int, dies_after: int = 0) -> None:
        """The deadline passes."""
        self._dispatcher(who).fail("deadline_exceeded", dies_after)

    def cancel(self, who: int, dies_after: int = 0) -> None:
        """The user cancels; the dispatcher that holds the task ends it."""
        self._dispatcher(who).cancel(dies_after)

    def cancel_unowned(self, who: int, dies_after: int = 0) -> None:
        """The user cancels, and nobody says that it holds the task: any dispatcher ends it."""
        if self.world.queue.is_submitted:
            passer_by = Dispatcher(self.world, self.processes)
            passer_by.look_at()
            passer_by.cancel(dies_after)
            passer_by.forget()

    # --- what goes wrong -----------------------------------------------------------------------------------------

    def crash(self, who: int) -> None:
        """A dispatcher is killed and comes back with no memory."""
        self._dispatcher(who).forget()

    def kill(self, which: int) -> None:
        """A process of a node is killed."""
        self.refuse(which)

    def write_on(self, which: int, ahead: int) -> None:
        """A process that was stopped or replaced writes without a fence, and may guess counter and offset."""
        state = self.world.stream.state
        if not self.processes:
            return
        zombie = self._process(which)
        if zombie.attempt != state.attempt or state.phase is not Phase.RUNNING:
            event = TaskChunk(n=state.n + ahead, attempt=zombie.attempt, offset=state.chars, text=RUBBISH)
            self.world.stream.append(zombie.node, event, expected=None)

    def wake(self, which: int) -> None:
        """A process that hung wakes and goes on where it stood, under the fence that it had then."""
        if self.processes:
            self._process(which).is_stopped = False

    def usurp(self, where: int, ahead: int, hope: int = 0) -> None:
        """A node that does not hold the assignment writes without a fence, perhaps for an attempt that it hopes for."""
        state = self.world.stream.state
        node, attempt = NODES[where % len(NODES)], max(state.attempt + hope, 1)
        if (node, attempt) != (state.node, state.attempt):
            event = TaskChunk(n=state.n + ahead, attempt=attempt, offset=state.chars, text=RUBBISH)
            self.world.stream.append(node, event, expected=None)

    def misplace(self, which: int, astray: int) -> None:
        """A process that lost count of its words writes without a fence."""
        if self.processes:
            process, state = self._process(which), self.world.stream.state
            event = TaskChunk(n=state.n + 1, attempt=process.attempt, offset=state.chars + astray, text=RUBBISH)
            self.world.stream.append(process.node, event, expected=None)

    def forge(self, where: int) -> None:
        """A node writes a marker, on the only subject where it can: its own."""
        marker = TaskEnded(n=self.world.stream.state.n + 1, at_ms=0, outcome="completed")
        self.world.stream.append(NODES[where % len(NODES)], marker, expected=None)

    def repeat(self, which: int) -> None:
        """Something of a node that counted when it was stored, or was an honest try, is stored once more."""
        stored = self.world.stream.stored
        honest = [entry for entry in stored if entry[0] != MESH and getattr(entry[1], "text", "") != RUBBISH]
        if honest:
            writer, event = honest[which % len(honest)]
            self.world.stream.append(writer, event, expected=None)

    # --- who listens ---------------------------------------------------------------------------------------------

    def hear(self, who: int, which: int) -> None:
        """A reader hears one event: any, again, or with others lost before it."""
        if self.world.stream.stored:
            self._reader(who).hear(which % len(self.world.stream.stored))

    def resume(self, who: int) -> None:
        """A reader that dropped comes back, to any gateway, with nothing but the last counter that it has."""
        self._reader(who).resume()

    # --- the end -------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """What the queue owes: somebody gets the task, again where the first finds that somebody else wrote to it."""
        self.submit()
        for _ in range(2):
            self.dispatchers[0].take()
            self.dispatchers[0].bring_to_an_end()
        for reader in self.readers:
            reader.resume()

    def _dispatcher(self, which: int) -> Dispatcher:
        return self.dispatchers[which % len(self.dispatchers)]

    def _reader(self, which: int) -> Reader:
        return self.readers[which % len(self.readers)]

    def _process(self, which: int) -> Process:
        return self.processes[which % len(self.processes)]
