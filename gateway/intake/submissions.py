"""What was asked, read back from TASKS: a task's own events name neither its model nor its question."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from msgspec import Struct

from mesh.bus.headers import CONTENT_TYPE, SEQUENCE, STREAM_SUBJECT, header, stamped, status_code
from mesh.errors import BusError
from streams import subjects
from streams.codec import decode
from streams.errors import StreamsError
from streams.events import TaskSubmitted
from streams.tasks.grounding import own_messages
from streams.tasks.raw_prompts import said_in
from streams.tasks.task_id import bucket_of
from streams.topology import TASKS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mesh.bus.direct_client import Delivery
    from mesh.bus.link import Link
    from streams.subjects import TaskKey
    from streams.tokens import Token

_GET: Final = f"$JS.API.DIRECT.GET.{TASKS}"
_GET_OF_LEADER: Final = f"$JS.API.STREAM.MSG.GET.{TASKS}"
_NO_MESSAGE: Final = 10037
_CLOSINGS: Final = frozenset({204, 404})
"""How a batch may close: that was all, or there is nothing."""
_PAGE: Final = 64
_LOOK_BACK: Final = 256
"""How many submissions, of all accounts together, are looked through for recent ones."""


class Submission(NamedTuple):
    """A task and what was asked."""

    key: TaskKey
    asked: TaskSubmitted

    @property
    def question(self) -> str:
        """What the user said last; of texts that are to become vectors the first."""
        messages = own_messages(said_in(self.asked), self.asked.grounding)
        if not messages:
            return self.asked.texts[0] if self.asked.texts else ""
        said = (message.content for message in reversed(messages) if message.role == "user")
        return next(said, messages[-1].content)


class Submissions:
    """Reads TASKS by direct gets."""

    def __init__(self, edge: Link) -> None:
        """Read through ``edge``."""
        self._edge = edge

    async def find(self, key: TaskKey) -> Submission | None:
        """Return what was asked under a key, or None if nothing is stored there.

        Raises:
            BusError: if the stream cannot be read now.
        """
        found = next(iter(_readable(await self._stored(key))), None)
        if found is None and self._edge.has_choice:
            return _submission(await self._of_leader(key))
        return found

    async def exists(self, key: TaskKey) -> bool:
        """Whether anything was submitted under a key, readable or not.

        Raises:
            BusError: if the stream cannot be read now.
        """
        if await self._stored(key):
            return True
        return self._edge.has_choice and await self._of_leader(key) is not None

    async def _stored(self, key: TaskKey) -> tuple[Delivery, ...]:
        return await self._get({"multi_last": [_of_task(key)], "batch": 1})

    async def _of_leader(self, key: TaskKey) -> _Held | None:
        """Ask the leader of the stream: of a copy, which may lag behind, "nothing is stored" is no answer."""
        query = json.dumps({"last_by_subj": _of_task(key)}).encode()
        answer = _leaders_answer.decode((await self._edge.request(_GET_OF_LEADER, query)).data)
        if answer.error is not None and answer.error.err_code != _NO_MESSAGE:
            raise BusError(f"{TASKS} cannot be read: {answer.error.description}")
        return answer.message

    async def recent(self, account: Token, limit: int) -> list[Submission]:
        """Return up to ``limit`` of the account's latest submissions, oldest first.

        Raises:
            BusError: if the stream cannot be read now.
        """
        position = max(1, await self._last_sequence() - _LOOK_BACK)
        found: list[Submission] = []
        while True:
            query = {"seq": position, "next_by_subj": f"tasks.*.*.{account}.*.submitted", "batch": _PAGE}
            parts = await self._get(query)
            found += _readable(parts)
            if len(parts) < _PAGE:
                return found[-limit:]
            position = _sequence(parts[-1]) + 1

    async def _last_sequence(self) -> int:
        answer = await self._edge.request(f"$JS.API.STREAM.INFO.{TASKS}", b"")
        info = json.loads(answer.data)
        if "error" in info:
            raise BusError(f"{TASKS} cannot be read: {info['error'].get('description')}")
        return int(info["state"]["last_seq"])

    async def _get(self, query: Mapping[str, object]) -> tuple[Delivery, ...]:
        parts, end = await self._edge.collect(_GET, json.dumps(query).encode())
        if status_code(end.headers) not in _CLOSINGS:
            raise BusError(f"{TASKS} cannot be read: {end.headers.decode(errors='replace').strip()}")
        return parts


class _Held(Struct):
    """A stored message as the leader hands it out."""

    subject: str
    data: bytes = b""
    hdrs: bytes = b""


class _Error(Struct):
    err_code: int = 0
    description: str = ""


class _LeadersAnswer(Struct):
    message: _Held | None = None
    error: _Error | None = None


_leaders_answer: Final = msgspec.json.Decoder(_LeadersAnswer)


def _of_task(key: TaskKey) -> str:
    return f"tasks.*.{bucket_of(key.task)}.{key.account}.{key.task}.submitted"


def _submission(held: _Held | None) -> Submission | None:
    return None if held is None else _read(held.subject, held.data, held.hdrs)


def _readable(parts: tuple[Delivery, ...]) -> list[Submission]:
    """Decode what can be decoded: what cannot is answered by the dispatcher, not shown."""
    read = (_read(stamped(part.headers, STREAM_SUBJECT) or "", part.data, part.headers) for part in parts)
    return [submission for submission in read if submission is not None]


def _read(subject: str, data: bytes, headers: bytes) -> Submission | None:
    try:
        key = subjects.parse_submitted(subject).key
        return Submission(key, decode(data, TaskSubmitted, content_type=header(headers, CONTENT_TYPE)))
    except StreamsError:
        return None


def _sequence(part: Delivery) -> int:
    return int(stamped(part.headers, SEQUENCE) or 0)
