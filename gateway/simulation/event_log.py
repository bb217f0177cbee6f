"""Tasks and devices of a recorded log, from the lines that ``ig3 events replay`` prints.

Read are submissions (TASKS), completions (ENDED; they say how long prompts and answers were) and announcements
(MODELS). Everything else is passed over. Tasks come when they came then, whatever becomes of those before them.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from gateway.errors import GatewayError
from gateway.simulation.trace import Conversation, Turn, turn_of
from streams.devices.replica import Replica
from streams.errors import InvalidSubject
from streams.events import ModelAnnounced, TaskCompleted, TaskSubmitted
from streams.sites import subject_at_home
from streams.subjects import TaskKey, parse_ended, parse_submitted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.tasks.chat import Usage

_USUAL_ANSWER_TOKENS: Final = 128
"""Of a task that the log has no completion of."""


class UnreadableLog(GatewayError):
    """A file is no export of a log, or holds no task."""


class Recorded(Struct, frozen=True, kw_only=True):
    """What a log says."""

    conversations: tuple[Conversation, ...]
    replicas: dict[str, tuple[Replica, ...]]
    """By node; empty if the log has no announcements."""

    @property
    def models(self) -> tuple[str, ...]:
        """All that was asked for."""
        return tuple(sorted({turn.wish.model for each in self.conversations for turn in each.turns}))


class _Kind(Struct):
    type: str = ""


class _Line(Struct):
    time: datetime
    subject: str
    event: msgspec.Raw = msgspec.Raw()


_line: Final = msgspec.json.Decoder(_Line)
_kind: Final = msgspec.json.Decoder(_Kind)
_told: Final = msgspec.json.Decoder(TaskSubmitted | TaskCompleted | ModelAnnounced)
_READ: Final = frozenset({"task.submitted.v1", "task.completed.v1", "model.announced.v1"})


class _Reading:
    def __init__(self) -> None:
        self.submitted: dict[TaskKey, tuple[float, str, TaskSubmitted]] = {}
        self.usage: dict[TaskKey, Usage] = {}
        self.replicas: dict[str, dict[str, Replica]] = {}

    def take(self, text: bytes) -> None:
        line = _line.decode(text)
        if not bytes(line.event) or _kind.decode(line.event).type not in _READ:
            return
        subject = subject_at_home(line.subject)
        told: TaskSubmitted | TaskCompleted | ModelAnnounced = _told.decode(line.event)
        match told:
            case TaskSubmitted() as asked:
                self.submitted[parse_submitted(subject).key] = (line.time.timestamp(), subject, asked)
            case TaskCompleted() as end:
                self.usage[parse_ended(subject)] = end.usage
            case ModelAnnounced():
                # What is withdrawn later was there for a part of the time, and is here all the time.
                self.replicas.setdefault(told.node, {})[told.replica.model] = told.replica

    def turn(self, key: TaskKey) -> Turn:
        at_s, subject, asked = self.submitted[key]
        usage = self.usage.get(key)
        longest = _USUAL_ANSWER_TOKENS if asked.sampling.max_tokens is None else asked.sampling.max_tokens
        return turn_of(
            key,
            asked,
            parse_submitted(subject).service_class,
            answer_tokens=min(longest, _USUAL_ANSWER_TOKENS) if usage is None else max(usage.completion_tokens, 1),
            prompt_tokens=None if usage is None else usage.prompt_tokens,
            at_ms=round(at_s * 1000),
        )


def read_log(lines: Iterable[bytes]) -> Recorded:
    """Read an export, one JSON object per line.

    Raises:
        UnreadableLog: if a line is none of an export, or no task is in it.
    """
    reading = _Reading()
    for number, text in enumerate(lines, start=1):
        try:
            if text.strip():
                reading.take(text)
        except (msgspec.DecodeError, UnicodeDecodeError, InvalidSubject) as error:
            raise UnreadableLog(
                f"line {number} is none that `ig3 events replay` prints ({error}); export the log anew"
            ) from error
    if not reading.submitted:
        raise UnreadableLog("no task is in it; export one with `ig3 events replay TASKS ENDED MODELS > FILE`")
    begins_s = min(at_s for at_s, _, _ in reading.submitted.values())
    conversations = [
        Conversation(at_s - begins_s, (reading.turn(key),)) for key, (at_s, _, _) in reading.submitted.items()
    ]
    replicas = {node: tuple(served.values()) for node, served in reading.replicas.items()}
    return Recorded(conversations=tuple(sorted(conversations, key=lambda each: each.at_s)), replicas=replicas)
