"""What the log says afterwards, read past every service: whether anything was lost, repeated or ended twice."""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from mesh.broker.credentials import Credentials
from mesh.bus.service_bus import Bus, BusOptions
from mesh.history.ordered import OrderedReader
from mesh.history.stream_facts import Recorded
from mesh.inspection.stored_event import event_of
from streams.codec import decode_end_event, decode_task_event
from streams.events import EndEvent, TaskChunk, TaskCompleted, TaskEnded, TaskEvent
from streams.subjects import parse_ended, parse_result, parse_submitted
from streams.tasks.task import TaskState, advance, closing
from streams.topology import DEAD, ENDED, TASKS
from tests.chaos.answers import Transcript, uninterrupted
from tests.running_mesh import Place

_WAIT_S = 5.0


@dataclass(frozen=True)
class Line:
    """One event of a task that counts, and when the broker stored it."""

    at_ns: int
    event: TaskEvent


@dataclass
class TaskRecord:
    """All that the streams hold of one task."""

    submissions: int = 0
    lines: list[Line] = field(default_factory=list[Line])
    passed_over: list[str] = field(default_factory=list[str])
    """What was stored and does not count, and why."""
    state: TaskState = field(default_factory=TaskState)
    text: str = ""
    ends: list[EndEvent] = field(default_factory=list[EndEvent])

    @property
    def written_at_ns(self) -> int | None:
        """When the last chunk was stored."""
        last = (line for line in self.lines if isinstance(line.event, TaskChunk) and line.event.finish_reason)
        return next((line.at_ns for line in last), None)

    def take(self, at_ns: int, writer: str, event: TaskEvent) -> None:
        """Fold one stored event."""
        following = advance(self.state, writer, event)
        if not isinstance(following, TaskState):
            self.passed_over.append(f"{type(event).__name__} of {writer}: {following}")
            return
        self.state = following
        self.lines.append(Line(at_ns, event))
        if isinstance(event, TaskChunk):
            self.text += event.text
        elif getattr(event, "seam", None) == "restarted":
            self.text = ""


@dataclass
class Findings:
    """What was counted, and every promise that was broken, in words."""

    answers: int = 0
    tokens: int = 0
    tokens_missing: int = 0
    tokens_repeated: int = 0
    without_end: int = 0
    ended_twice: int = 0
    broken: list[str] = field(default_factory=list[str])
    attempts: Counter[int] = field(default_factory=Counter[int])
    passed_over: Counter[str] = field(default_factory=Counter[str])


@asynccontextmanager
async def open_streams(place: Place) -> AsyncIterator[Bus]:
    """Connect as a service does."""
    credentials = Credentials.load(place.data_dir)
    options = BusOptions(
        servers=tuple(f"nats://{address}" for address in place.nats.split(",")),
        name="audit",
        edge_seed=credentials.edge_service.seed_path,
        core_seed=credentials.core_service.seed_path,
    )
    async with await Bus.connect(options) as bus:
        yield bus


async def read_all(bus: Bus) -> dict[str, TaskRecord]:
    """Read every stream once, from its first message to its last."""
    records: defaultdict[str, TaskRecord] = defaultdict(TaskRecord)
    for one in await _stored(bus, TASKS):
        records[parse_submitted(one.subject).key.task].submissions += 1
    for number in range(bus.options.results_streams):
        for one in await _stored(bus, f"RESULTS_{number}"):
            origin = parse_result(one.subject)
            records[origin.key.task].take(one.stored_ns, origin.writer, decode_task_event(one.data))
    for one in await _stored(bus, ENDED):
        records[parse_ended(one.subject).task].ends.append(decode_end_event(one.data))
    return dict(records)


async def dead_letters(bus: Bus) -> list[str]:
    """What DEAD holds."""
    return [str(event_of(one)) for one in await _stored(bus, DEAD)]


async def _stored(bus: Bus, stream: str) -> list[Recorded]:
    found: list[Recorded] = []
    link = bus.core if stream in (ENDED, DEAD) else bus.edge
    async with OrderedReader(link, stream) as reader:
        while not reader.is_caught_up:
            found += await reader.take(wait_s=_WAIT_S)
    return found


async def audit(records: dict[str, TaskRecord], transcripts: Sequence[Transcript]) -> Findings:
    """Compare what readers saw with what is stored, and that with what the engine answers when nothing goes wrong."""
    findings = Findings()
    for transcript in transcripts:
        record = records.get(transcript.task, TaskRecord())
        right = await uninterrupted(transcript.question, transcript.tokens)
        _count(findings, record, transcript, right)
        wrong = [*_wrong_log(record, transcript, right), *_wrong_reading(transcript, right)]
        findings.broken += [f"{transcript.task} ({transcript.way}): {problem}" for problem in wrong]
    return findings


def _count(findings: Findings, record: TaskRecord, transcript: Transcript, right: str) -> None:
    findings.answers += 1
    findings.tokens += len(right.split())
    has, due = Counter(enumerate(transcript.text.split())), Counter(enumerate(right.split()))
    findings.tokens_missing += max(0, len(right.split()) - len(transcript.text.split()))
    findings.tokens_repeated += max(0, len(transcript.text.split()) - len(right.split()))
    if has.total() == due.total() and has != due:
        findings.tokens_missing += (due - has).total()
    findings.without_end += not record.ends
    findings.ended_twice += len(record.ends) > 1
    findings.attempts[record.state.attempt] += 1
    findings.passed_over.update(record.passed_over)


def _wrong_log(record: TaskRecord, transcript: Transcript, right: str) -> list[str]:
    """Say what the log of a task has wrong."""
    wrong: list[str] = []
    if record.submissions != 1:
        wrong.append(f"it was stored {record.submissions} times")
    if record.text != right:
        wrong.append(f"the log has {record.text!r}, not {right!r}")
    markers = [line for line in record.lines if isinstance(line.event, TaskEnded)]
    last_chunks = [line for line in record.lines if isinstance(line.event, TaskChunk) and line.event.finish_reason]
    if (len(markers), len(last_chunks), len(record.ends)) != (1, 1, 1):
        wrong.append(f"{len(last_chunks)} last chunks, {len(record.ends)} ends, {len(markers)} markers of an end")
        return wrong
    end = record.ends[0]
    if not isinstance(end, TaskCompleted):
        return [*wrong, f"it ended as {closing(end).outcome}: {closing(end).error}"]
    charged = sum(share.tokens for share in end.shares)
    if charged != transcript.tokens or end.usage.completion_tokens != transcript.tokens:
        wrong.append(f"{charged} tokens are charged, {end.usage.completion_tokens} used, {transcript.tokens} asked for")
    if sum(share.chars for share in end.shares) != len(right) or end.shares != record.state.shares:
        wrong.append("the shares of the end are not what was delivered")
    return wrong


def _wrong_reading(transcript: Transcript, right: str) -> list[str]:
    wrong = [transcript.problem] if transcript.problem else []
    if not transcript.is_whole:
        wrong.append("its reader never got the end")
    if transcript.text != right:
        wrong.append(f"its reader saw {transcript.text!r}, not {right!r}")
    if transcript.counters != sorted(set(transcript.counters)):
        wrong.append(f"its reader saw counters twice or out of order: {transcript.counters}")
    return wrong
