"""What was measured: how long readers waited at each kind of fault, and how soon a lost node was noticed."""

import bisect
import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from streams.events import TaskChunk, TaskRequeued
from tests.chaos.answers import Transcript
from tests.chaos.audit import Findings, TaskRecord
from tests.chaos.faults import Injection

NOTICEABLE_S = 0.5
"""A pause shorter than this is one that the synthetic engine and a busy machine make by themselves."""
LOOK_AHEAD_S = 20.0
NODE_FAULTS = frozenset({"node killed", "node hung", "node cut off"})
DETECTED_S = 5.0
CONTINUED_S = 3.0
_SECOND_NS = 1_000_000_000
LOOK_AHEAD_NS = round(LOOK_AHEAD_S * _SECOND_NS)


@dataclass
class Row:
    """One kind of fault."""

    injected: int = 0
    reading: int = 0
    pauses_s: list[float] = field(default_factory=list[float])
    """Of the readers who noticed."""
    detected_s: list[float] = field(default_factory=list[float])
    continued_s: list[float] = field(default_factory=list[float])


def rows(
    injections: Sequence[Injection], transcripts: Iterable[Transcript], records: dict[str, TaskRecord]
) -> dict[str, Row]:
    """Measure each kind of fault."""
    found: defaultdict[str, Row] = defaultdict(Row)
    for injection, following in itertools.zip_longest(injections, injections[1:]):
        found[injection.kind].injected += 1
        until_ns = injection.at_ns + LOOK_AHEAD_NS if following is None else following.at_ns
        _take_detection(found[injection.kind], injection, until_ns, records.values())
    for transcript in transcripts:
        for place, pause_s in _pauses(transcript, [injection.at_s for injection in injections]).items():
            row = found[injections[place].kind]
            row.reading += 1
            if pause_s >= NOTICEABLE_S:
                row.pauses_s.append(pause_s)
    return dict(found)


def _pauses(transcript: Transcript, at_s: Sequence[float]) -> dict[int, float]:
    """The longest pause that a reader owes to each fault: the first that falls into it, else the one before it."""
    pauses: dict[int, float] = {}
    for before, after in itertools.pairwise(transcript.arrivals_s):
        place = bisect.bisect_left(at_s, before)
        if place == len(at_s) or at_s[place] >= after:
            place -= 1
            if place < 0 or before > at_s[place] + LOOK_AHEAD_S:
                continue
        pauses[place] = max(pauses.get(place, 0.0), after - before)
    return pauses


def _take_detection(row: Row, injection: Injection, until_ns: int, records: Iterable[TaskRecord]) -> None:
    for record in records:
        for index, line in enumerate(record.lines):
            event = line.event
            is_ours = isinstance(event, TaskRequeued) and event.node in injection.victims
            if not is_ours or not injection.at_ns <= line.at_ns <= until_ns:
                continue
            row.detected_s.append((line.at_ns - injection.at_ns) / _SECOND_NS)
            later = (other.at_ns for other in record.lines[index:] if isinstance(other.event, TaskChunk))
            if (first := next(later, None)) is not None:
                row.continued_s.append((first - line.at_ns) / _SECOND_NS)


def too_slow(measured: dict[str, Row]) -> list[str]:
    """Say where a lost node was noticed, or its answers went on, later than promised.

    The promise is that of a machine that is not busy: half of the answers must keep it, and all of them twice that.
    """
    slow: list[str] = []
    for kind, row in sorted(measured.items()):
        if kind not in NODE_FAULTS:
            continue
        for what, values, promised_s in (
            ("noticed", row.detected_s, DETECTED_S),
            ("the answer went on", row.continued_s, CONTINUED_S),
        ):
            if values and (percentile(values, 50) > promised_s or max(values) > 2 * promised_s):
                slow.append(f"{kind}: {what} after {_range(values)} s; promised are {promised_s:g} s")
    return slow


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least so many percent of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def table(measured: dict[str, Row]) -> str:
    """Write the figures for people."""
    head = ("fault", "times", "reading", "paused", "p50 s", "p99 s", "max s", "noticed in s", "went on after s")
    lines = [head, *(_cells(kind, row) for kind, row in sorted(measured.items()))]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def summary(findings: Findings) -> str:
    """Write what must be nothing, and how often answers changed hands."""
    moved = sum(count for attempts, count in findings.attempts.items() if attempts > 1)
    lines = [
        f"answers                 {findings.answers}, {findings.tokens} tokens",
        f"tokens missing          {findings.tokens_missing}",
        f"tokens repeated         {findings.tokens_repeated}",
        f"tasks without an end    {findings.without_end}",
        f"tasks ended twice       {findings.ended_twice}",
        f"answers that moved      {moved}, at most {max(findings.attempts, default=0)} attempts",
        f"stored, but not counted {findings.passed_over.total()}",
    ]
    return "\n".join([*lines, *(f"  {count} x {why}" for why, count in findings.passed_over.most_common(5))])


def _cells(kind: str, row: Row) -> tuple[str, ...]:
    pauses = (_show(row.pauses_s, percent) for percent in (50, 99, 100))
    detected, continued = (_range(values) for values in (row.detected_s, row.continued_s))
    return (kind, str(row.injected), str(row.reading), str(len(row.pauses_s)), *pauses, detected, continued)


def _show(values: list[float], percent: float) -> str:
    return f"{percentile(values, percent):.1f}" if values else "-"


def _range(values: list[float]) -> str:
    if not values:
        return "-"
    return f"{percentile(values, 50):.1f} (max {max(values):.1f})"
