"""Tasks that died, as DEAD keeps them: which there are, trying one again, letting one go (ADR 12).

What an operator decides is an event fenced on the letter's subject, so of two who decide at once one is told so. A
re-drive is decided first and submitted then: whoever is cut off between the two has only to ask again.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from mesh.bus.appends import Fence
from mesh.errors import BusError, DeadLetterError, FenceMismatch, PublishUnknown, SubjectTaken, TaskRefused
from mesh.history.ordered import OrderedReader
from mesh.inspection.stored_event import event_of
from mesh.inspection.task_name import of_several, parse_task_name
from mesh.inspection.task_records import AMBIGUOUS, ended, find
from streams import subjects
from streams.clock import now_ms
from streams.codec import encode
from streams.errors import InvalidSubject, UndecodableEvent
from streams.events import DeadDropped, DeadKept, DeadRedriven, TaskDead
from streams.subjects import TaskKey
from streams.tasks.task import closing
from streams.tasks.task_id import new_task_id, parse_task_id
from streams.topology import DEAD

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mesh.bus.service_bus import Bus
    from mesh.history.stream_facts import Recorded
    from mesh.inspection.task_records import Submitted
    from streams.events import DeadEvent
    from streams.tokens import Token

_WAIT_S: Final = 5.0
_TRIES: Final = 8
_PAUSE_S: Final = 0.2


class DeadLetter(Struct, frozen=True, kw_only=True):
    """One dead task, and what was decided about it last."""

    key: TaskKey
    died_at: datetime
    kept: DeadKept
    decided: DeadRedriven | DeadDropped | None
    last_sequence: int
    """Where the letter's subject stands: the fence of the next decision."""

    @property
    def word(self) -> str:
        """``waiting`` for somebody to look, ``redriven`` or ``dropped``."""
        match self.decided:
            case None:
                return "waiting"
            case DeadRedriven():
                return "redriven"
            case DeadDropped():
                return "dropped"


async def letters(bus: Bus, *, account: Token | None = None, task: Token | None = None) -> list[DeadLetter]:
    """Return the dead tasks that are kept, the oldest first, perhaps of one account or of one id only.

    Raises:
        BusError: if the broker does not answer.
    """
    recorded: list[Recorded] = []
    pattern = f"dead.{account or '*'}.{task or '*'}"
    async with OrderedReader(bus.core, DEAD, filters=[pattern]) as reader:
        while not reader.is_caught_up:
            recorded += await reader.take(wait_s=_WAIT_S)
    return fold_letters(recorded)


def fold_letters(recorded: Iterable[Recorded]) -> list[DeadLetter]:
    """Fold messages of DEAD, in stream order; what is no letter, or decides about none, is passed over."""
    found: dict[TaskKey, DeadLetter] = {}
    for one in recorded:
        try:
            key, event = subjects.parse_dead(one.subject), event_of(one)
        except (InvalidSubject, UndecodableEvent):
            continue
        letter = found.get(key)
        if isinstance(event, DeadKept) and letter is None:
            found[key] = DeadLetter(key=key, died_at=one.at, kept=event, decided=None, last_sequence=one.sequence)
        elif isinstance(event, (DeadRedriven, DeadDropped)) and letter is not None:
            found[key] = replace(letter, decided=event, last_sequence=one.sequence)
    return list(found.values())


async def letter(bus: Bus, name: str) -> DeadLetter:
    """Return the dead task that a person names, as ``ID`` or ``ACCOUNT/ID``.

    Raises:
        InvalidTaskId: if it is neither.
        DeadLetterError: if no such task died, and the error says what has become of it instead; or several accounts
            have a dead one of this id.
        BusError: if the broker does not answer.
    """
    account, task = parse_task_name(name)
    for _ in range(_TRIES):
        found = await letters(bus, account=account, task=task)
        if len(found) > 1:
            raise DeadLetterError(of_several(one.key for one in found))
        if found:
            return found[0]
        await _refuse_living(bus, task, account)
        # It died a moment ago: the end is a fact before the letter is.
        await asyncio.sleep(_PAUSE_S)
    raise DeadLetterError(f"task {task} died, and no dispatcher has come to keep it yet: ask again later")


async def _refuse_living(bus: Bus, task: Token, account: Token | None) -> None:
    try:
        submitted = await find(bus, task, account=account)
    except TaskRefused as error:
        if error.code == AMBIGUOUS:
            raise DeadLetterError(str(error)) from error
        raise DeadLetterError(f"no task {task} is kept here: `ig3 dead list --all` shows the dead ones") from error
    end = await ended(bus, submitted.key)
    if end is not None and isinstance(end.event, TaskDead):
        return
    state = "has not ended" if end is None else f"ended as {closing(end.event).outcome}"
    raise DeadLetterError(f"task {task} is not dead: it {state}; `ig3 tasks show {task}` shows its answer")


async def redrive(bus: Bus, name: str, *, again: bool = False) -> TaskKey:
    """Have a dead task tried anew as another task, of the same class and content; returns its key.

    What was decided but never submitted, because somebody was cut off, is submitted now.

    Args:
        bus: connections of a service.
        name: the dead task, as ``ID`` or ``ACCOUNT/ID``.
        again: also where it was re-driven or dropped before.

    Raises:
        InvalidTaskId: if it is neither.
        DeadLetterError: if no such task died, its content is gone, or it was decided about before.
        BusError: if the broker does not answer.
    """
    for _ in range(_TRIES):
        found = await letter(bus, name)
        asked = await _content(bus, found)
        if isinstance(found.decided, DeadRedriven) and not again:
            return await _finish(bus, found, asked, parse_task_id(found.decided.task))
        if found.decided is not None and not again:
            raise DeadLetterError(_decided(found))
        event = DeadRedriven(at_ms=now_ms(), task=new_task_id())
        if await _decide(bus, found, event):
            return await _submit(bus, asked, parse_task_id(event.task))
    raise BusError(f"the re-drive of task {name} could not be written: try again")


async def drop(bus: Bus, name: str, *, reason: str) -> DeadLetter:
    """Let the dead task go that is named as ``ID`` or ``ACCOUNT/ID``; returns it as it was.

    Raises:
        InvalidTaskId: if it is neither.
        DeadLetterError: if no such task died, or it was decided about before.
        BusError: if the broker does not answer.
    """
    for _ in range(_TRIES):
        found = await letter(bus, name)
        if found.decided is not None:
            raise DeadLetterError(_decided(found))
        if await _decide(bus, found, DeadDropped(at_ms=now_ms(), reason=reason)):
            return found
    raise BusError(f"that task {name} is dropped could not be written: try again")


def _decided(found: DeadLetter) -> str:
    match found.decided:
        case None:
            how = "waits for a decision"
        case DeadDropped():
            how = f"was dropped: {found.decided.reason}"
        case DeadRedriven():
            how = f"was redriven as {found.decided.task}"
    return f"task {found.key.task} {how}; `ig3 dead redrive --again {found.key.task}` tries it once more"


async def _decide(bus: Bus, found: DeadLetter, event: DeadEvent) -> bool:
    """Append a decision; False if somebody else may have decided meanwhile."""
    subject = subjects.dead(found.key)
    try:
        await bus.core.append(subject, encode(event), fence=Fence(subject, found.last_sequence))
    except FenceMismatch:
        return False
    except PublishUnknown:
        await asyncio.sleep(_PAUSE_S)
        (stored,) = await letters(bus, account=found.key.account, task=found.key.task)
        return stored.decided == event
    return True


async def _content(bus: Bus, found: DeadLetter) -> Submitted:
    try:
        submitted = await find(bus, found.key.task, account=found.key.account)
    except TaskRefused as error:
        problem = f"what task {found.key.task} asked is no longer kept, so it cannot be tried again"
        raise DeadLetterError(f"{problem}; `ig3 dead drop {found.key.task}` lets it go") from error
    if submitted.event is None:
        raise DeadLetterError(f"what task {found.key.task} asked cannot be read, so it cannot be tried again")
    return submitted


async def _finish(bus: Bus, found: DeadLetter, asked: Submitted, task: Token) -> TaskKey:
    """Submit what somebody decided and did not come to submit."""
    try:
        await find(bus, task, account=found.key.account)
    except TaskRefused:
        return await _submit(bus, asked, task)
    raise DeadLetterError(_decided(found))


async def _submit(bus: Bus, asked: Submitted, task: Token) -> TaskKey:
    """Submit the same content under another id, with as much time as the first one had."""
    event, key = asked.event, TaskKey(asked.key.account, task)
    if event is None:
        raise DeadLetterError(f"what task {asked.key.task} asked cannot be read")
    until = None if event.deadline_at_ms is None else now_ms() + event.deadline_at_ms - _ms(asked.at)
    body = encode(replace(event, redrive_of=asked.key.task, deadline_at_ms=until))
    for _ in range(_TRIES):
        try:
            await bus.edge.append(subjects.submitted(asked.service_class, key), body)
        except SubjectTaken:
            return key
        except PublishUnknown:
            await asyncio.sleep(_PAUSE_S)
        else:
            return key
    raise BusError(f"task {task} could not be submitted: `ig3 dead redrive {asked.key.task}` goes on where this ended")


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
