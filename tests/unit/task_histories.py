"""Histories of one task as a faultless mesh would write them, for the tests of the aggregate."""

from hypothesis import strategies as st

from streams.events import (
    Outcome,
    Seam,
    TaskAccepted,
    TaskAssigned,
    TaskChunk,
    TaskEnded,
    TaskEvent,
    TaskHalted,
    TaskQueued,
    TaskRequeued,
)
from streams.subjects import MESH
from streams.tasks.chat import Usage

Written = tuple[str, TaskEvent]
"""A writer and what it wrote."""

NODES = ("node-a", "node-b", "node-c")
SEAMS: tuple[Seam | None, ...] = (None, "continued", "replayed", "restarted")
USAGE = Usage(prompt_tokens=3, completion_tokens=5)


class History:
    """Writes events one after another, each with the right counter, attempt and offset."""

    def __init__(self) -> None:
        self.events: list[Written] = []
        self.text = ""
        self.tokens = 0
        self.node = ""
        self.attempt = 0

    @property
    def next_n(self) -> int:
        return len(self.events) + 1

    def accept(self) -> "History":
        return self._write(MESH, TaskAccepted(n=self.next_n, at_ms=0))

    def queue(self, position: int = 0) -> "History":
        return self._write(MESH, TaskQueued(n=self.next_n, at_ms=0, position=position, reason="no node"))

    def assign(self, node: str, seam: Seam | None = None) -> "History":
        self.node, self.attempt = node, self.attempt + 1
        if seam == "restarted":
            self.text, self.tokens = "", 0
        marker = TaskAssigned(
            n=self.next_n, at_ms=0, attempt=self.attempt, node=node, policy="test", offset=len(self.text), seam=seam
        )
        return self._write(MESH, marker)

    def requeue(self, code: str = "node_lost") -> "History":
        marker = TaskRequeued(
            n=self.next_n, at_ms=0, attempt=self.attempt, node=self.node, code=code, message=code, retry_at_ms=7
        )
        return self._write(MESH, marker)

    def chunk(self, text: str, *, last: bool = False) -> "History":
        chunk = TaskChunk(
            n=self.next_n,
            attempt=self.attempt,
            offset=len(self.text),
            text=text,
            tokens=1,
            finish_reason="stop" if last else None,
            usage=USAGE if last else None,
        )
        self.text, self.tokens = self.text + text, self.tokens + 1
        return self._write(self.node, chunk)

    def halt(self) -> "History":
        return self._write(MESH, TaskHalted(n=self.next_n, at_ms=0, reason="cancelled"))

    def end(self, outcome: Outcome = "completed") -> "History":
        return self._write(MESH, TaskEnded(n=self.next_n, at_ms=0, outcome=outcome))

    def _write(self, writer: str, event: TaskEvent) -> "History":
        self.events.append((writer, event))
        return self


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Any history that a faultless mesh could have written so far: begun, queued, moved, halted, ended."""
    history = History()
    if draw(st.booleans()):
        history.accept()
    for position in draw(st.lists(st.integers(0, 9), max_size=2)):
        history.queue(position)
    for node in draw(st.lists(st.sampled_from(NODES), max_size=3)):
        _attempt(draw, history.assign(node, draw(st.sampled_from(SEAMS)) if history.node else None))
    if history.node and draw(st.booleans()):
        history.assign(history.node).chunk("the end", last=True)
    if draw(st.booleans()):
        history.halt()
    if draw(st.booleans()):
        history.end(draw(st.sampled_from(("completed", "failed", "cancelled", "dead"))))
    return history


def _attempt(draw: st.DrawFn, history: History) -> None:
    for text in draw(st.lists(st.text("aé世🙂\n", max_size=3), max_size=3)):
        history.chunk(text)
    match draw(st.integers(0, 2)):
        case 1:
            history.queue()
        case 2:
            history.requeue()
