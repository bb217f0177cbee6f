"""Which responses were deleted: one message each in KEYS, which is kept as long as answers are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from mesh.bus.headers import status_code
from mesh.errors import BusError, PublishUnknown, StoreFull, SubjectTaken
from streams import subjects
from streams.clock import now_ms
from streams.codec import encode
from streams.tasks.request_events import ResponseDeleted
from streams.tokens import Token
from streams.topology import KEYS

if TYPE_CHECKING:
    from mesh.bus.link import Link
    from streams.subjects import TaskKey

_GET: Final = f"$JS.API.DIRECT.GET.{KEYS}"
_TRIES: Final = 5


class Deletions:
    """Reads and writes them."""

    def __init__(self, core: Link) -> None:
        """Go through ``core``."""
        self._core = core

    async def has(self, key: TaskKey) -> bool:
        """Whether a response was deleted; a copy of the stream that lags may say no for a moment too long.

        Raises:
            BusError: if the stream cannot be read now.
        """
        answer = await self._core.request(_GET, json.dumps({"last_by_subj": _subject(key)}).encode())
        match status_code(answer.headers):
            case None:
                return True
            case 404:
                return False
            case _:
                raise BusError(f"{KEYS} cannot be read: {answer.headers.decode(errors='replace').strip()}")

    async def add(self, key: TaskKey) -> None:
        """Delete a response; twice is once.

        Raises:
            BusError: if it stays unknown whether it is stored, or there is no room for it.
        """
        for _ in range(_TRIES):
            try:
                await self._core.append(_subject(key), encode(ResponseDeleted(at_ms=now_ms(), task=key.task)))
            except SubjectTaken:
                return
            except StoreFull:
                raise
            except PublishUnknown:
                continue
            else:
                return
        raise PublishUnknown(f"it is not known whether the response of task {key.task} is deleted: ask again")


def _subject(key: TaskKey) -> str:
    return subjects.request_key(key.account, Token(f"deleted-{key.task}"))
