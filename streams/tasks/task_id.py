"""Task ids: UUIDv7 (RFC 9562) written as 32 lower-case hex digits.

The leading 48 bits are the creation time, so an id tells its own age; the tail is random, so its last digit
spreads tasks evenly over the 16 buckets.
"""

from __future__ import annotations

import hashlib
import os
import re
from datetime import timedelta
from typing import Final

from streams.clock import now_ms
from streams.errors import InvalidTaskId
from streams.tokens import Token

BUCKETS: Final = "0123456789abcdef"
"""The 16 fixed buckets; configuration maps them to streams, so growing never re-hashes."""

CLOCK_SKEW: Final = timedelta(minutes=5)
"""How far in the future an id may lie before it is refused."""

_SHAPE: Final = re.compile(
    r"[0-9a-f]{8}(?P<dash>-?)[0-9a-f]{4}(?P=dash)7[0-9a-f]{3}(?P=dash)[89ab][0-9a-f]{3}(?P=dash)[0-9a-f]{12}"
)
_LONGEST: Final = len("xxxxxxxx-xxxx-7xxx-xxxx-xxxxxxxxxxxx")


def new_task_id(at_ms: int | None = None) -> Token:
    """Make a fresh id stamped with ``at_ms`` (Unix milliseconds; now, if not given)."""
    stamp = now_ms() if at_ms is None else at_ms
    tail = int.from_bytes(os.urandom(10), "big")
    value = (stamp & 0xFFFF_FFFF_FFFF) << 80 | tail
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return Token(f"{value:032x}")


def sibling_task_id(task: Token, number: int) -> Token:
    """Make the id of another task of the same request: of the same time, and the same whoever makes it."""
    digest = hashlib.sha256(f"{task}/{number}".encode()).digest()
    tail = int.from_bytes(digest[:8], "big") & ~(0x3 << 62) | 0x2 << 62
    return Token(f"{int(task[:16], 16) << 64 | tail:032x}")


def derived_task_id(at_ms: int, purpose: str) -> Token:
    """Make the id of a task for one purpose: the same whoever makes it, at any time with the same ``at_ms``."""
    digest = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:10], "big")
    value = (at_ms & 0xFFFF_FFFF_FFFF) << 80 | digest
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return Token(f"{value:032x}")


def parse_task_id(text: str) -> Token:
    """Accept an id in either case, with or without the dashes of a UUID.

    Raises:
        InvalidTaskId: if it is not a UUIDv7.
    """
    lower = text.lower() if len(text) <= _LONGEST else text
    if _SHAPE.fullmatch(lower) is None:
        raise InvalidTaskId(f"{text[:64]!r} is not a task id: it must be a UUIDv7 in hex")
    return Token(lower.replace("-", ""))


def created_ms(task: Token) -> int:
    """Return the creation time that the id carries, in Unix milliseconds."""
    return int(task[:12], 16)


def bucket_of(task: Token) -> str:
    """Return the last hex digit of the id: the bucket, fixed for ever."""
    return task[-1]


def check_age(task: Token, *, now_ms: int, retention: timedelta) -> None:
    """Refuse an id that is older than the retention window or from the future.

    Once a stream has expired a subject, the broker would accept it a second time; the id's own time closes that door.

    Raises:
        InvalidTaskId: with what to do about it.
    """
    age_ms = now_ms - created_ms(task)
    if age_ms > retention / timedelta(milliseconds=1):
        raise InvalidTaskId(f"task id {task} is older than the retention window of {retention}: make a new one")
    if -age_ms > CLOCK_SKEW / timedelta(milliseconds=1):
        raise InvalidTaskId(f"task id {task} lies in the future: check this machine's clock")
