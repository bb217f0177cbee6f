"""Questions that were asked before and may mean the same: per account, and per everything else of a request (ADR 23).

All that stands in one place (the *shelf*) agrees in everything but the words of its last question, and even there in
what weighs (``gateway.cache.guard``). So few questions share a shelf that each is compared with all of them.
"""

from __future__ import annotations

import math
import struct
from datetime import timedelta
from operator import mul
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from gateway.cache.guard import guard_of
from gateway.cache.key import Slot, canonical, slot_of
from streams.cache.messages import CacheNear, NearQuestion
from streams.clock import now_ms
from streams.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.cache.sealing import Sealer
    from gateway.cache.store import PatientStore, Stored
    from streams.events import TaskSubmitted

MOST_QUESTIONS: Final = 64
"""On a shelf; the oldest make room."""
LONGEST_TEXT: Final = 1000
"""Characters of a question: the rest of a longer one might be cut off by the model that makes its vector."""

_TRIES: Final = 4
_FLOAT_BYTES: Final = 4
_PURPOSE: Final = b"similar-1"
_encode: Final = msgspec.msgpack.Encoder().encode


class Shelf(NamedTuple):
    """Where a question is looked for, and its words."""

    slot: Slot
    text: str


class Neighbour(NamedTuple):
    """An answer's place, and how far its question is away: 0 is the same direction."""

    slot: Slot
    distance: float


def shelf_of(
    secret: bytes, account: Token, task: TaskSubmitted, *, models: tuple[str, ...] = (), embedder: str
) -> Shelf | None:
    """Return where a request's last question is looked for; None: it has none that can be compared.

    ``embedder`` is the model that makes vectors: those of different models cannot be compared.
    """
    if not task.messages:
        return None
    last = task.messages[-1]
    text = last.content
    if last.role != "user" or last.parts or not text.strip() or len(text) > LONGEST_TEXT:
        return None
    rest = replace(task, messages=(*task.messages[:-1], replace(last, content="")))
    place = _encode((_PURPOSE, embedder, guard_of(text), canonical(rest, models)))
    return Shelf(slot_of(secret, account, place), text)


class SimilarQuestions:
    """The shelves of a mesh, in the store of its answers."""

    def __init__(self, store: PatientStore, sealer: Sealer, *, kept: timedelta) -> None:
        """Keep them in ``store``, each for as long as an answer."""
        self._store = store
        self._sealer = sealer
        self._kept = kept

    async def nearest(self, shelf: Slot, vector: bytes, *, most_distance: float) -> Neighbour | None:
        """Return the nearest question that is no farther away than that.

        Raises:
            CacheAway: if the store cannot be asked now.
        """
        own, now = unit_of(vector), now_ms()
        questions = self._on(shelf, await self._store.read(shelf))
        near = [(distance_of(own, _short_numbers(one.vector)), one) for one in questions if one.until_ms > now]
        if not near:
            return None
        distance, question = min(near, key=lambda one: one[0])
        return None if distance > most_distance else Neighbour(Slot(shelf.owner, Token(question.digest)), distance)

    async def add(self, shelf: Slot, vector: bytes, answer: Slot) -> None:
        """Put a question on its shelf, whose answer stands, or is about to stand, at ``answer``.

        Raises:
            CacheAway: if the store cannot be asked now.
        """
        until_ms = now_ms() + self._kept // timedelta(milliseconds=1)
        question = NearQuestion(digest=answer.digest, vector=_shortened(vector), until_ms=until_ms)
        standing = await self._store.read(shelf)
        for _ in range(_TRIES):
            others = [
                one for one in self._on(shelf, standing) if one.digest != answer.digest and one.until_ms > now_ms()
            ]
            body = CacheNear(until_ms=until_ms, questions=(*others[1 - MOST_QUESTIONS :], question))
            data = self._sealer.seal(shelf, body)
            if await self._store.swap(shelf, standing, data, kept=self._kept, is_patient=True) is not None:
                return
            standing = await self._store.read(shelf, is_newest=True)

    def _on(self, shelf: Slot, standing: Stored) -> tuple[NearQuestion, ...]:
        body = self._sealer.open(shelf, standing.data)
        return body.questions if isinstance(body, CacheNear) else ()


def distance_of(a: Sequence[float], b: Sequence[float]) -> float:
    """One less the cosine of two vectors of length 1; 2 where they cannot be compared."""
    return 1.0 - sum(map(mul, a, b)) if len(a) == len(b) else 2.0


def unit_of(vector: bytes) -> tuple[float, ...]:
    """Read a vector, and give it the length 1; one without a length has no numbers."""
    numbers = struct.unpack(f"<{len(vector) // _FLOAT_BYTES}f", vector)
    length = math.hypot(*numbers)
    return tuple(number / length for number in numbers) if length else ()


def _shortened(vector: bytes) -> bytes:
    """Half as many bytes: 16 bits a number, which moves a distance by less than a thousandth."""
    numbers = unit_of(vector)
    return struct.pack(f"<{len(numbers)}e", *numbers)


def _short_numbers(vector: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(vector) // 2}e", vector)
