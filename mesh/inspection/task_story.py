"""The story of one task, told from what is stored: where it went and why, how fast it was, how it ended."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from streams.events import (
    TaskAccepted,
    TaskAssigned,
    TaskCancelled,
    TaskChunk,
    TaskCompleted,
    TaskDead,
    TaskEnded,
    TaskFailed,
    TaskHalted,
    TaskQueued,
    TaskRequeued,
)
from streams.tasks.raw_prompts import said_in
from streams.tasks.task import Rejection, TaskState, advance

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from mesh.inspection.task_records import Ended, Happened, Submitted
    from streams.events import Marker, Seam
    from streams.tasks.placing import Candidate, Hedge

_PROMPT_SHOWN: Final = 60
_SEAMS: Final[dict[Seam, str]] = {
    "continued": "goes on behind {} {}",
    "replayed": "writes anew, hidden until it is past the {} {} so far",
    "restarted": "begins again: what was written before is void",
}
_HEDGES: Final = {
    "won": "{node} was first; {beside} was stopped, and earns nothing",
    "lost": "{beside} was first; {node} was stopped, and earns nothing",
    "left": "{node} gave up, or was lost",
    "over": "the attempt ended before either had a word",
}


class Line(NamedTuple):
    """One line of the story. ``after`` is the time since the submission; None for what belongs to the line above."""

    after: timedelta | None
    text: str
    style: str = ""


def tell(submitted: Submitted, happened: list[Happened], end: Ended | None) -> list[Line]:
    """Return the story, line by line."""
    event = submitted.event
    teller = _Teller(submitted.at, "vectors" if event is not None and event.texts else "characters")
    lines = [Line(timedelta(), f"submitted, {submitted.service_class}"), *_question(submitted)]
    for one in happened:
        lines += teller.hear(one)
    lines += teller.finish_writing()
    if end is not None:
        lines += _fact(end, submitted.at, teller)
    elif not teller.state.is_over:
        lines.append(Line(None, f"it has not ended: {teller.state.phase}", "cyan"))
    return sorted_by_time(lines)


def sorted_by_time(lines: list[Line]) -> list[Line]:
    """Order lines by time, each with those that belong to it: the end is stored before the marker that tells of it."""
    groups: list[list[Line]] = []
    for line in lines:
        if line.after is None and groups:
            groups[-1].append(line)
        else:
            groups.append([line])
    groups.sort(key=lambda group: timedelta.max if group[0].after is None else group[0].after)
    return [line for group in groups for line in group]


class _Teller:
    """Folds the events by the validity rule and says what each one meant; chunks are told together."""

    def __init__(self, submitted_at: datetime, unit: str) -> None:
        self.state = TaskState()
        self.unit = unit
        self._begun = submitted_at
        self._chunks: list[Happened] = []
        self.first_text_at: datetime | None = None

    def hear(self, one: Happened) -> Iterator[Line]:
        outcome = advance(self.state, one.writer, one.event)
        if isinstance(outcome, Rejection):
            kind = type(one.event).__struct_config__.tag
            text = f"not counted: {kind} by {one.writer}, n {one.event.n}: {outcome}"
            yield Line(one.at - self._begun, text, "yellow")
            return
        self.state = outcome
        if isinstance(one.event, TaskChunk):
            yield from self._write(one, one.event)
        else:
            yield from self.finish_writing()
            yield from _marker(one.event, one.at - self._begun, self.unit)

    def finish_writing(self) -> Iterator[Line]:
        """Tell of the chunks since the last marker, in one line."""
        if not self._chunks:
            return
        first, last = self._chunks[0], self._chunks[-1]
        chunks = [one.event for one in self._chunks if isinstance(one.event, TaskChunk)]
        tokens = sum(chunk.tokens for chunk in chunks)
        vectors = sum(chunk.length for chunk in chunks if chunk.vectors is not None)
        seconds = (last.at - first.at).total_seconds()
        speed = f", {(tokens - 1) / seconds:.1f} tokens/s" if seconds > 0 and tokens > 1 else ""
        finish = last.event.finish_reason if isinstance(last.event, TaskChunk) else None
        reason = f"; finish reason: {finish}" if finish else ""
        count = "1 chunk" if len(self._chunks) == 1 else f"{len(self._chunks)} chunks"
        called = _called(self._chunks)
        self._chunks = []
        what = f"{_count(vectors, 'vector')} of {_tokens(tokens)}" if vectors else _tokens(tokens)
        yield Line(last.at - self._begun, f"wrote {count} with {what}{speed}{called}{reason}")

    def _write(self, one: Happened, chunk: TaskChunk) -> Iterator[Line]:
        self._chunks.append(one)
        if self.first_text_at is None and chunk.length:
            self.first_text_at = one.at
            what = "text" if chunk.text else "call"
            first = f"first {what} (time to first token)" if chunk.vectors is None else "first vectors"
            yield Line(one.at - self._begun, first, "green")


def _called(chunks: Sequence[Happened]) -> str:
    """Which functions are called in chunks; never with what."""
    pieces = (piece for one in chunks if isinstance(one.event, TaskChunk) for piece in one.event.tool_calls)
    names = [piece.name for piece in pieces if piece.name is not None]
    return f"; calls {', '.join(names)}" if names else ""


_PLURALS: Final = {"message": "messages", "text to become a vector": "texts to become vectors"}


def _tokens(count: int) -> str:
    return _count(count, "token")


def _count(count: int, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count} {what}s"


def _question(submitted: Submitted) -> Iterator[Line]:
    event = submitted.event
    if event is None:
        yield Line(None, "its body cannot be read", "red")
        return
    what = "raw prompt" if event.prompt else "message" if event.messages else "text to become a vector"
    said = [message.content for message in said_in(event)] or list(event.texts) or [""]
    last = said[-1].replace("\n", " ")
    shown = last if len(last) <= _PROMPT_SHOWN else f"{last[:_PROMPT_SHOWN]}…"
    count = f"1 {what}" if len(said) == 1 else f"{len(said)} {_PLURALS[what]}"
    chars = sum(map(len, said))
    yield Line(None, f"{count}, {chars} characters, the last: “{shown}”", "dim")
    if event.dimensions is not None:
        yield Line(None, f"dimensions {event.dimensions}", "dim")
    wishes = [
        f"{name} {value}"
        for name in event.sampling.__struct_fields__
        if (value := getattr(event.sampling, name)) not in {None, ()}
    ]
    if wishes:
        yield Line(None, ", ".join(wishes), "dim")


def _marker(event: Marker, after: timedelta, unit: str) -> Iterator[Line]:
    match event:
        case TaskAccepted():
            yield Line(after, "accepted")
        case TaskQueued():
            yield Line(after, f"queued, {event.position} before it: {event.reason}", "cyan")
        case TaskAssigned():
            model = "" if event.model is None else f", model {event.model}"
            yield Line(
                after, f"assigned to {event.node}: attempt {event.attempt}, policy {event.policy}{model}", "bold"
            )
            yield from _hedge(event.hedge)
            yield from _candidates(event, unit)
        case TaskRequeued():
            yield Line(after, f"attempt {event.attempt} on {event.node} came to nothing: {event.message}", "yellow")
        case TaskHalted():
            yield Line(after, f"halted: {event.reason}", "yellow")
        case TaskEnded():
            yield Line(after, f"the end is told to readers: {event.outcome}")


def _candidates(event: TaskAssigned, unit: str) -> Iterator[Line]:
    if event.seam is not None or event.offset:
        yield Line(None, _SEAMS[event.seam or "continued"].format(event.offset, unit), "dim")
    width = max((len(candidate.node) for candidate in event.candidates), default=0)
    for candidate in sorted(event.candidates, key=_rank):
        chosen = candidate.node == event.node and candidate.model == event.model
        yield Line(None, f"{'→' if chosen else ' '} {candidate.node:<{width}}  {_verdict(candidate)}", "dim")
        if candidate.parts:
            yield Line(None, f"  {'':<{width}}  {_why(candidate)}", "dim")
    if event.serving > len(event.candidates):
        passed_over = ", ".join(f"{each.count} {each.reason}" for each in event.rejects)
        yield Line(None, f"of {event.serving} nodes{': passed over ' if passed_over else ''}{passed_over}", "dim")


def _hedge(hedge: Hedge | None) -> Iterator[Line]:
    """Say that a second node was asked, why, and what came of it."""
    if hedge is None:
        return
    usual = f"later than 95 % of its last {hedge.samples} were" if hedge.samples else "a guess: too few were measured"
    outcome = _HEDGES[hedge.outcome].format(node=hedge.node, beside=hedge.beside)
    why = f"{hedge.beside} had no word after {hedge.waited_s:g} s ({usual})"
    yield Line(None, f"hedged beside attempt {hedge.attempt}: {why}, so {hedge.node} was asked too: {outcome}", "cyan")


def _rank(candidate: Candidate) -> tuple[bool, bool, float]:
    return candidate.rejected is not None, candidate.has_failed, -(candidate.score or 0.0)


def _verdict(candidate: Candidate) -> str:
    of_model = f"{candidate.model}: " if candidate.model is not None else ""
    if candidate.rejected is not None:
        return f"{of_model}passed over: {candidate.rejected}"
    score = f"{of_model}no score" if candidate.score is None else f"{of_model}score {candidate.score:g}"
    return f"{score}, comes last: it has failed this task" if candidate.has_failed else score


def _why(candidate: Candidate) -> str:
    """How a score came about, and what was expected."""
    parts = ", ".join(f"{part.name} {part.value:+g}" for part in candidate.parts)
    if candidate.first_token_s is None or candidate.finish_s is None:
        return parts
    return f"{parts}; first token after {candidate.first_token_s:g} s, all after {candidate.finish_s:g} s"


def _fact(end: Ended, submitted_at: datetime, teller: _Teller) -> Iterator[Line]:
    after = end.at - submitted_at
    match end.event:
        case TaskCompleted():
            usage = end.event.usage
            text = f"completed: {usage.prompt_tokens} prompt tokens, {usage.completion_tokens} completion tokens"
            yield Line(after, text, "bold green")
            if end.event.hedge is not None and end.event.hedge.outcome != "won":
                yield from _hedge(end.event.hedge)
        case TaskFailed() | TaskDead():
            error = end.event.error
            word = "failed" if isinstance(end.event, TaskFailed) else "dead"
            yield Line(after, f"{word}: {error.message} ({error.code}, status {error.status})", "bold red")
        case TaskCancelled():
            yield Line(after, f"cancelled: {end.event.reason}", "bold yellow")
    for share in end.event.shares:
        written = f"{share.chars} {teller.unit}, {_tokens(share.tokens)}"
        yield Line(None, f"attempt {share.attempt} on {share.node}: {written}", "dim")
    if not teller.state.is_over:
        yield Line(None, "readers have not been told yet", "yellow")
