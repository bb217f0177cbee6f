"""Idempotency keys: which task is the first under a key stands in KEYS, one message per key, ever (ADR 9).

The key is written before the task: whoever dies in between leaves a key whose task is still to come, and the repeat
submits it under the very id that the key names. So two gateways with one key make one task, whoever is first.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING, Final

from mesh.bus.headers import status_code
from mesh.errors import BusError, PublishUnknown, StoreFull, SubjectTaken
from streams import subjects
from streams.codec import decode, encode
from streams.events import RequestKeyed
from streams.tokens import Token
from streams.topology import KEYS

if TYPE_CHECKING:
    from mesh.bus.link import Link

_GET: Final = f"$JS.API.DIRECT.GET.{KEYS}"
_TRIES: Final = 5
_PAUSE_S: Final = 0.2
"""A copy of the stream that answers may lag behind the one that stores."""


def key_digest(key: str) -> Token:
    """The name of a key in KEYS: any text becomes one token, and the stream does not show what clients chose."""
    return Token(hashlib.sha256(key.encode()).hexdigest())


def body_digest(path: str, body: bytes) -> str:
    """What a repeat must have in common with the first request, byte for byte."""
    return hashlib.sha256(b"%b\n%b" % (path.encode(), body)).hexdigest()


class IdempotencyKeys:
    """Reads and writes KEYS."""

    def __init__(self, core: Link) -> None:
        """Go through ``core``."""
        self._core = core

    async def find(self, account: Token, digest: Token) -> RequestKeyed | None:
        """Return what stands under a key, or None; a copy of the stream may say None for a moment too long.

        Raises:
            BusError: if the stream cannot be read now.
        """
        query = json.dumps({"last_by_subj": subjects.request_key(account, digest)}).encode()
        answer = await self._core.request(_GET, query)
        match status_code(answer.headers):
            case None:
                return decode(answer.data, RequestKeyed)
            case 404:
                return None
            case _:
                raise BusError(f"{KEYS} cannot be read: {answer.headers.decode(errors='replace').strip()}")

    async def claim(self, account: Token, digest: Token, first: RequestKeyed) -> RequestKeyed:
        """Write ``first`` under a key, and return what stands there now: that, or what somebody else wrote before.

        Raises:
            BusError: if it stays unknown what stands there, or there is no room for it.
        """
        subject = subjects.request_key(account, digest)
        for _ in range(_TRIES):
            try:
                await self._core.append(subject, encode(first))
            except SubjectTaken:
                standing = await self.find(account, digest)
                if standing is not None:
                    return standing
                await asyncio.sleep(_PAUSE_S)
            except StoreFull:
                raise
            except PublishUnknown:
                continue
            else:
                return first
        raise PublishUnknown(f"it is not known what stands under {subject}: repeat the request with the same key")
