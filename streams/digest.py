"""A short word for a whole state, so that two processes can find out whether they have come to the same."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from streams.tasks.task import TaskState

_BYTES: Final = 16


def digest_of(state: bytes) -> str:
    """Return the digest of a dumped state, as hex."""
    return hashlib.blake2b(state, digest_size=_BYTES).hexdigest()


def digest_of_task(state: TaskState) -> str:
    """Return the digest of what a task's events have added up to."""
    return digest_of(msgspec.msgpack.encode(state))
