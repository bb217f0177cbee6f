"""Whole logs of tasks in ``tests/golden/logs/``: what was stored then, and in readable form what it meant.

``<name>.msgpack-seq`` holds one MessagePack array ``[stream, subject, body]`` per stored message, in stream order;
``<name>.json`` what a reader, the dispatcher and ENDED make of it. Both are written once and never again: a new
behaviour gets a new log. ``python -m tests.unit.golden_logs`` writes those that are missing.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgpack
import msgspec

from streams.codec import decode_end_event, decode_task_event, encode
from streams.errors import StreamsError
from streams.events import (
    AttemptFailure,
    ChunkSignature,
    EndEvent,
    Event,
    TaskAccepted,
    TaskAssigned,
    TaskCancelled,
    TaskChunk,
    TaskCompleted,
    TaskDead,
    TaskEnded,
    TaskError,
    TaskFailed,
    TaskHalted,
    TaskQueued,
    TaskRequeued,
    TaskSubmitted,
)
from streams.subjects import MESH, TaskKey, ended, parse_result, result, submitted
from streams.tasks.chat import Message, Usage
from streams.tasks.placing import Candidate
from streams.tasks.task import Rejection, TaskState, advance
from streams.tokens import token
from tests.packed import packed

FOLDER = Path(__file__).parents[1] / "golden" / "logs"

_AT = 1_767_225_600_000
_MODEL = "smollm2-135m-instruct"
_USAGE = Usage(prompt_tokens=31, completion_tokens=4)
_SIGNATURE = ChunkSignature(algorithm="ed25519", signature_base64="AAECAwQFBgcICQoLDA0ODw==")
_LOST = TaskError(code="node_lost", message="node-a has left the bus or does not report", status=502)


class Record(NamedTuple):
    """One stored message."""

    stream: str
    subject: str
    body: bytes


class Log:
    """Writes the log of one task, event by event, with the counter and offset that each must have."""

    def __init__(self, number: int) -> None:
        self.key = TaskKey(token("local"), token(f"019b76da8{number:03x}7abc8def0123456789ab"))
        self.records: list[Record] = []
        self.state = TaskState()
        asked = TaskSubmitted(model=_MODEL, messages=(Message(role="user", content="Grüße, 世界 🙂?"),))
        self.put("TASKS", submitted("standard", self.key), asked)

    def put(self, stream: str, subject: str, event: Event | bytes) -> "Log":
        body = event if isinstance(event, bytes) else encode(event)
        self.records.append(Record(stream, subject, body))
        return self

    def mark(self, make: Callable[..., Event], **fields: object) -> "Log":
        return self.write(make(n=self.state.n + 1, at_ms=_AT + self.state.n, **fields))

    def write(self, event: Event | bytes, writer: str = MESH) -> "Log":
        """Store anything at all; it moves the log on only if it counts."""
        self.put("RESULTS", result(self.key, token(writer)), event)
        if not isinstance(event, bytes):
            following = advance(self.state, writer, event)  # type: ignore[arg-type]  # whatever the test gives
            self.state = self.state if isinstance(following, Rejection) else following
        return self

    def assign(self, node: str, *, seam: str | None = None) -> "Log":
        return self.mark(
            TaskAssigned,
            attempt=self.state.attempt + 1,
            node=node,
            policy="least-loaded.v1",
            candidates=(Candidate(node=node, score=0.5), Candidate(node="node-z", rejected="lost")),
            offset=0 if seam == "restarted" else self.state.chars,
            seam=seam,
        )

    def chunk(self, text: str, *, last: bool = False, signature: ChunkSignature | None = None) -> "Log":
        state = self.state
        chunk = TaskChunk(
            n=state.n + 1,
            attempt=state.attempt,
            offset=state.chars,
            text=text,
            tokens=1,
            finish_reason="stop" if last else None,
            usage=_USAGE if last else None,
            signature=signature,
        )
        return self.write(chunk, state.node or "")

    def requeue(self, error: TaskError = _LOST, signature: ChunkSignature | None = None) -> "Log":
        return self.mark(
            TaskRequeued,
            attempt=self.state.attempt,
            node=self.state.node,
            code=error.code,
            message=error.message,
            retry_at_ms=_AT + 500,
            signature=signature,
        )

    def end(self, make: Callable[..., EndEvent], **fields: object) -> "Log":
        state = self.state
        event = make(at_ms=_AT + 9, model=_MODEL, final_n=state.n, shares=state.shares, **fields)
        self.put("ENDED", ended(self.key), event)
        outcome = {TaskCompleted: "completed", TaskFailed: "failed", TaskCancelled: "cancelled", TaskDead: "dead"}
        error = fields.get("error")
        if isinstance(event, TaskCancelled):
            error = TaskError(code="cancelled", message=event.reason, status=499)
        return self.mark(TaskEnded, outcome=outcome[type(event)], error=error)

    def complete(self, *, tells_failures: bool = False) -> "Log":
        """End it well; ends did not always tell what had failed before."""
        failures = self.state.failures if tells_failures else ()
        return self.end(TaskCompleted, finish_reason="stop", usage=_USAGE, failures=failures)


def _completed() -> Log:
    return Log(1).assign("node-a").chunk("Grüße").chunk(", 世").chunk("界 🙂").chunk("!", last=True).complete()


def _queued() -> Log:
    log = Log(2).mark(TaskAccepted)
    log.mark(TaskQueued, position=3, reason="all slots are busy").mark(TaskQueued, position=0, reason="next")
    return log.assign("node-a").chunk("Hello", last=True).complete()


def _migrated() -> Log:
    log = Log(3).assign("node-a").chunk("Grüße").chunk(", 世").requeue()
    return log.assign("node-b", seam="continued").chunk("界 🙂").chunk("!", last=True).complete()


def _replayed() -> Log:
    log = Log(4).assign("node-a").chunk('{"a": ').requeue()
    return log.assign("node-b", seam="replayed").chunk("1}", last=True).complete()


def _restarted() -> Log:
    cannot = TaskError(code="cannot_continue", message="the replay came to another text", status=503)
    log = Log(5).assign("node-a").chunk('{"a": ').requeue().assign("node-b", seam="replayed").requeue(cannot)
    return log.assign("node-c", seam="restarted").chunk('{"b": ').chunk("2}", last=True).complete()


def _cancelled() -> Log:
    log = Log(6).assign("node-a").chunk("one ").mark(TaskHalted, reason="cancelled by the client")
    return log.end(TaskCancelled, reason="cancelled by the client")


def _cancelled_while_queued() -> Log:
    log = Log(7).mark(TaskQueued, position=1, reason="no node serves this model")
    return log.end(TaskCancelled, reason="cancelled by the client")


def _failed_at_the_gate() -> Log:
    return Log(8).end(TaskFailed, error=TaskError(code="model_not_found", message="No such model.", status=404))


def _deadline() -> Log:
    error = TaskError(code="deadline_exceeded", message="The deadline passed.", status=504)
    log = Log(9).assign("node-a").chunk("one ").mark(TaskHalted, reason=error.code, error=error)
    return log.end(TaskFailed, error=error)


def _dead() -> Log:
    log = Log(10)
    for node in ("node-a", "node-b"):
        log.assign(node, seam="continued" if log.state.chars else None).chunk("x").requeue()
    error = TaskError(code="attempts_exhausted", message="2 attempts came to nothing.", status=502)
    failures = tuple(
        AttemptFailure(attempt=number, node=node, code=_LOST.code, message=_LOST.message)
        for number, node in enumerate(("node-a", "node-b"), 1)
    )
    return log.end(TaskDead, error=error, failures=failures)


def _halted_without_error() -> Log:
    """As it was before a halt said with what the task will fail: ``node_lost`` halted and failed."""
    log = Log(11).assign("node-a").chunk("one ").mark(TaskHalted, reason="node_lost")
    return log.end(TaskFailed, error=_LOST)


def _refused_again() -> Log:
    """As it was before attempts had seams and requeues: a refusal, then the next assignment at once."""
    log = Log(12).assign("node-a").chunk("one ").assign("node-b").chunk("two", last=True)
    return log.complete()


def _zombie() -> Log:
    log = Log(13).assign("node-a").chunk("one ").requeue().assign("node-b", seam="continued")
    n = log.state.n
    for late in (
        TaskChunk(n=n + 1, attempt=1, offset=4, text="late", tokens=1),
        TaskChunk(n=n + 1, attempt=2, offset=4, text="forged", tokens=1),
        TaskChunk(n=n + 9, attempt=1, offset=4, text="far", tokens=1),
        TaskChunk(n=2, attempt=1, offset=0, text="again", tokens=1),
        TaskEnded(n=n + 1, at_ms=0, outcome="failed"),
    ):
        log.write(late, "node-a")
    log.write(b'{"stream":"TASKS","seq":17}').write(b"\xc1 noise", "node-a")
    return log.chunk("two", last=True).complete().write(b"noise behind the end", "node-b")


def _signed() -> Log:
    return Log(15).assign("node-a").chunk("Grüße").chunk("!", last=True, signature=_SIGNATURE).complete()


def _handed_over() -> Log:
    stopping = TaskError(code="node_stopping", message="the node was shut down before the end", status=503)
    log = Log(16).assign("node-a").chunk("one ").requeue(stopping, _SIGNATURE).assign("node-b", seam="continued")
    return log.chunk("two", last=True, signature=_SIGNATURE).complete(tells_failures=True)


def _not_believed() -> Log:
    lie = TaskError(code="invalid_result", message="the signature is another's", status=502)
    log = Log(17).assign("node-a").chunk("lies ").chunk("all", last=True, signature=_SIGNATURE).requeue(lie)
    log.assign("node-b", seam="restarted").chunk("truth", last=True, signature=_SIGNATURE)
    return log.complete(tells_failures=True)


def _cancelled_at_the_end() -> Log:
    log = Log(18).assign("node-a").chunk("one", last=True, signature=_SIGNATURE).mark(TaskHalted, reason="cancelled")
    return log.end(TaskCancelled, reason="cancelled")


def _running() -> Log:
    return Log(14).assign("node-a").chunk("one ").chunk("two ")


LOGS: dict[str, Callable[[], Log]] = {
    "completed": _completed,
    "queued-then-completed": _queued,
    "migrated-continued": _migrated,
    "migrated-replayed": _replayed,
    "migrated-restarted": _restarted,
    "cancelled": _cancelled,
    "cancelled-while-queued": _cancelled_while_queued,
    "failed-at-the-gate": _failed_at_the_gate,
    "deadline": _deadline,
    "dead": _dead,
    "halted-v1-without-error": _halted_without_error,
    "refused-v1-without-seam": _refused_again,
    "zombie-and-noise": _zombie,
    "running": _running,
    "signed": _signed,
    "handed-over-signed": _handed_over,
    "not-believed-then-restarted": _not_believed,
    "cancelled-when-written": _cancelled_at_the_end,
}


class Meaning(msgspec.Struct, frozen=True, kw_only=True):
    """What a log adds up to; ``state`` has the fields that there were when it was written."""

    text: str
    state: dict[str, object]
    passed_over: int
    end: dict[str, object] | None


def meaning_of(records: list[Record]) -> Meaning:
    """Fold a log as readers and the dispatcher do."""
    state, text, passed_over, end = TaskState(), "", 0, None
    for record in records:
        if record.stream == "ENDED":
            end = _readable(decode_end_event(record.body))
        if record.stream != "RESULTS":
            continue
        following = _advance(state, record)
        if following is None:
            passed_over += 1
            continue
        text = "" if following.chars < len(text) else text
        state, text = following, text + _text(record)
    return Meaning(text=text, state=_readable(state), passed_over=passed_over, end=end)


def _readable(value: object) -> dict[str, object]:
    return msgspec.json.decode(msgspec.json.encode(value))


def _advance(state: TaskState, record: Record) -> TaskState | None:
    try:
        event = decode_task_event(record.body)
    except StreamsError:
        return None
    following = advance(state, parse_result(record.subject).writer, event)
    return None if isinstance(following, Rejection) else following


def _text(record: Record) -> str:
    event = decode_task_event(record.body)
    return event.text if isinstance(event, TaskChunk) else ""


def log_file(name: str, folder: Path = FOLDER) -> Path:
    return folder / f"{name}.msgpack-seq"


def meaning_file(name: str, folder: Path = FOLDER) -> Path:
    return folder / f"{name}.json"


def read_log(name: str) -> list[Record]:
    with log_file(name).open("rb") as file:
        return [Record(*item) for item in msgpack.Unpacker(file)]


def read_meaning(name: str) -> Meaning:
    return msgspec.json.decode(meaning_file(name).read_bytes(), type=Meaning)


def write_log(name: str, folder: Path = FOLDER) -> None:
    """Write one log and its meaning; FileExistsError if they were ever written."""
    records = LOGS[name]().records
    with log_file(name, folder).open("xb") as file:
        file.writelines(packed(list(record)) for record in records)
    with meaning_file(name, folder).open("xb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(meaning_of(records)), indent=2) + b"\n")


def missing() -> Iterator[str]:
    return (name for name in LOGS if not log_file(name).exists())


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    written = list(missing())
    for written_name in written:
        write_log(written_name)
    sys.stdout.write(f"written: {', '.join(written) or 'nothing, all are there'}\n")
