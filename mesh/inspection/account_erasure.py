"""Erasing what an account has asked and been answered, so that no disk holds it; ends and charges stay.

JetStream's purge only forgets: the bytes stay in the file until its whole block is dropped. So each message is deleted
by itself, which writes over it.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from msgspec import Struct

from mesh.errors import AccountError, BusError
from mesh.history.ordered import OrderedReader
from mesh.history.stream_facts import stream_facts
from streams import subjects
from streams.account_subjects import account_subjects, holds_content, is_copy
from streams.cache.subjects import SHARED
from streams.clock import now_ms
from streams.codec import decode, decode_task_event
from streams.errors import StreamsError
from streams.events import SubmissionUnreadable, TaskEnded
from streams.subjects import CHECKS, MESH
from streams.topology import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from mesh.bus.link import Link
    from mesh.bus.service_bus import Bus
    from mesh.history.stream_facts import Recorded
    from streams.tokens import Token
    from streams.topology import StreamSpec

_WAIT_S: Final = 5.0
_AT_ONCE: Final = 64
_NO_MESSAGE: Final = 10037
_DENIED: Final = 10057
_NAMED: Final = 5


class Erased(Struct, frozen=True, kw_only=True):
    """What went, and what did not."""

    messages: int
    """Prompts, pieces of answers, markers, idempotency keys and cached answers."""
    copies: dict[str, int]
    """Messages in copies of edge sites, by stream: they stay."""


class _Part(NamedTuple):
    """One stream, as far as it had come when the erasing began."""

    spec: StreamSpec
    filters: tuple[str, ...]
    last_sequence: int


class _Error(Struct):
    err_code: int = 0
    description: str = ""


class _Answer(Struct):
    error: _Error | None = None


_answer: Final = msgspec.json.Decoder(_Answer)


class AccountErasure:
    """Erases one account up to the moment when it was begun: what comes later is left alone."""

    def __init__(self, bus: Bus, account: Token, parts: Sequence[_Part], specs: Sequence[StreamSpec]) -> None:
        """Made by ``begin``."""
        self._bus = bus
        self._account = account
        self._parts = parts
        self._specs = specs
        self.at_ms = now_ms()
        """What had ended by then is erased."""

    @classmethod
    async def begin(cls, bus: Bus, account: Token, specs: Iterable[StreamSpec]) -> AccountErasure:
        """Fix how far to erase.

        Args:
            bus: a bus of a service.
            account: whose content.
            specs: every stream of the mesh.

        Raises:
            BusError: if a stream cannot be read.
        """
        held = tuple(specs)
        parts: list[_Part] = []
        for spec in held:
            if holds_content(spec):
                facts = await stream_facts(bus.links[spec.account], spec.name)
                # What the mesh asked again to check answers, and answers that all may have, are nobody's and may be
                # anybody's: all of it goes.
                filters = tuple(s for name in (account, CHECKS, SHARED) for s in account_subjects(spec, name))
                parts.append(_Part(spec, filters, facts.last_sequence))
        return cls(bus, account, parts, held)

    async def open_tasks(self) -> list[subjects.TaskKey]:
        """The account's tasks that had not ended for everybody by then: their subjects must not be freed.

        On an empty subject a writer that expects nothing there would be believed: such a task would begin anew.

        Raises:
            BusError: if a stream cannot be read.
        """
        submitted: set[subjects.TaskKey] = set()
        over: set[subjects.TaskKey] = set()
        for part in self._parts:
            async for recorded in self._read(part):
                if recorded.subject.startswith("tasks."):
                    submitted.update(_submitted(recorded))
                elif recorded.subject.endswith(f".{MESH}"):
                    over.update(_ended(recorded))
        return sorted(submitted - over)

    async def run(self) -> Erased:
        """Erase.

        Raises:
            AccountError: if tasks of the account run.
            BusError: if it cannot be done now. What was erased until then is gone: do it again.
        """
        if running := await self.open_tasks():
            raise AccountError(still_open(self._account, running))
        messages = await self._erase_unreadable()
        # TASKS comes first: whoever has to begin again must not take for open what has lost its end already.
        for part in self._parts:
            link = self._bus.links[part.spec.account]
            async for page in self._pages(part):
                await _overwrite(link, part.spec.name, page)
                messages += len(page)
        return Erased(messages=messages, copies=await self._copies())

    async def _read(self, part: _Part) -> AsyncIterator[Recorded]:
        link = self._bus.links[part.spec.account]
        async with OrderedReader(link, part.spec.name, filters=part.filters) as reader:
            while not reader.is_caught_up:
                for recorded in await reader.take(wait_s=_WAIT_S):
                    if recorded.sequence > part.last_sequence:
                        return
                    yield recorded

    async def _pages(self, part: _Part) -> AsyncIterator[list[int]]:
        page: list[int] = []
        async for recorded in self._read(part):
            page.append(recorded.sequence)
            if len(page) == _AT_ONCE:
                yield page
                page = []
        yield page

    async def _erase_unreadable(self) -> int:
        """What the account has submitted under a subject that names no task is kept elsewhere."""
        core = self._bus.core
        facts = await stream_facts(core, UNREADABLE)
        spec = next(spec for spec in self._specs if spec.name == UNREADABLE)
        part = _Part(spec, spec.subjects, facts.last_sequence)
        found = [recorded.sequence async for recorded in self._read(part) if _is_of(self._account, recorded)]
        await _overwrite(core, UNREADABLE, found)
        return len(found)

    async def _copies(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for spec in self._specs:
            if is_copy(spec):
                facts = await stream_facts(self._bus.links[spec.account], spec.name)
                part = _Part(spec, account_subjects(spec, self._account), facts.last_sequence)
                counts[spec.name] = sum([1 async for _ in self._read(part)])
        return {name: count for name, count in counts.items() if count}


def still_open(account: Token, running: Sequence[subjects.TaskKey]) -> str:
    """Say which tasks stand in the way."""
    names = ", ".join(key.task for key in running[:_NAMED]) + (", ..." if len(running) > _NAMED else "")
    whose = f"{len(running)} tasks of account {account}, or checks of answers,"
    return f"{whose} have not ended ({names}): wait, or cancel them with --cancel"


async def _overwrite(link: Link, stream: str, sequences: Sequence[int]) -> None:
    subject = f"$JS.API.STREAM.MSG.DELETE.{stream}"
    await asyncio.gather(*(_ask(link, subject, {"seq": sequence, "no_erase": False}) for sequence in sequences))


async def _ask(link: Link, subject: str, question: dict[str, object]) -> None:
    error = _answer.decode((await link.request(subject, json.dumps(question).encode())).data).error
    if error is None or error.err_code == _NO_MESSAGE:
        return
    name = subject.rpartition(".")[2]
    if error.err_code == _DENIED:
        raise AccountError(
            f"stream {name} was made by a version that let nobody erase anything, and the broker keeps it so: "
            f"what it holds expires by `retention`"
        )
    raise BusError(f"a message of {name} could not be erased: {error.description}")


def _submitted(recorded: Recorded) -> tuple[subjects.TaskKey, ...]:
    try:
        return (subjects.parse_submitted(recorded.subject).key,)
    except StreamsError:
        return ()


def _ended(recorded: Recorded) -> tuple[subjects.TaskKey, ...]:
    try:
        event = decode_task_event(recorded.data)
        return (subjects.parse_result(recorded.subject).key,) if isinstance(event, TaskEnded) else ()
    except StreamsError:
        return ()


def _is_of(account: Token, recorded: Recorded) -> bool:
    try:
        told = decode(recorded.data, SubmissionUnreadable)
    except StreamsError:
        return False
    return account in told.subject.split(".")
