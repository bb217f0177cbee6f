"""What was asked, read back from TASKS: a task's own events name neither its model nor its question."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple

from mesh.bus.headers import CONTENT_TYPE, SEQUENCE, STREAM_SUBJECT, header, stamped, status_code
from mesh.errors import BusError
from streams import subjects
from streams.codec import decode
from streams.errors import StreamsError
from streams.events import TaskSubmitted
from streams.task_id import bucket_of
from streams.topology import TASKS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mesh.bus.direct_client import Delivery
    from mesh.bus.link import Link
    from streams.subjects import TaskKey
    from streams.tokens import Token

_GET: Final = f"$JS.API.DIRECT.GET.{TASKS}"
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
        """What the user said last."""
        said = (message.content for message in reversed(self.asked.messages) if message.role == "user")
        return next(said, self.asked.messages[-1].content)


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
        return next(iter(_readable(await self._stored(key))), None)

    async def exists(self, key: TaskKey) -> bool:
        """Whether anything was submitted under a key, readable or not.

        Raises:
            BusError: if the stream cannot be read now.
        """
        return bool(await self._stored(key))

    async def _stored(self, key: TaskKey) -> tuple[Delivery, ...]:
        pattern = f"tasks.*.{bucket_of(key.task)}.{key.account}.{key.task}.submitted"
        return await self._get({"multi_last": [pattern], "batch": 1})

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


def _readable(parts: tuple[Delivery, ...]) -> list[Submission]:
    """Decode what can be decoded: what cannot is answered by the dispatcher, not shown."""
    found: list[Submission] = []
    for part in parts:
        try:
            subject = subjects.parse_submitted(stamped(part.headers, STREAM_SUBJECT) or "")
            asked = decode(part.data, TaskSubmitted, content_type=header(part.headers, CONTENT_TYPE))
        except StreamsError:
            continue
        found.append(Submission(subject.key, asked))
    return found


def _sequence(part: Delivery) -> int:
    return int(stamped(part.headers, SEQUENCE) or 0)
