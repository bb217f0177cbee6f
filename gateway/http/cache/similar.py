"""Answers to questions that mean the same: their vectors are made by a task of the account, as any other is."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.cache.store import CacheAway
from mesh.bus.answer import AnswerText, follow
from mesh.errors import BusError
from streams import subjects
from streams.clock import now_ms
from streams.codec import encode
from streams.events import TaskSubmitted
from streams.subjects import TaskKey
from streams.tasks.task_id import new_task_id

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from gateway.cache.cache import AnswerCache, Ask
    from gateway.cache.key import Slot
    from gateway.cache.rules import CacheRules
    from gateway.cache.similar import Shelf, SimilarQuestions
    from gateway.roster.feed import RosterFeed
    from mesh.bus.service_bus import Bus
    from streams.cache.messages import CacheAnswer
    from streams.subjects import ServiceClass

log = logging.getLogger(__name__)

_PATIENCE_S: Final = 2.0
"""How long a request waits for the vector of its question before it goes on without."""


class Similar(NamedTuple):
    """What was found: an answer to another question and how far away that is; and the vector of this one."""

    vector: bytes
    answer: CacheAnswer | None = None
    distance: float = 0.0


class SimilarAnswers:
    """Of one gateway."""

    def __init__(
        self, bus: Bus, roster: RosterFeed, questions: SimilarQuestions, answers: AnswerCache, rules: CacheRules
    ) -> None:
        """Find ``questions``, and the ``answers`` to them."""
        self._bus = bus
        self._roster = roster
        self._questions = questions
        self._answers = answers
        self._rules = rules
        self._looking: dict[Slot, asyncio.Task[Similar | None]] = {}
        self._working: set[asyncio.Task[None]] = set()

    async def find(self, ask: Ask, shelf: Shelf) -> Similar | None:
        """Look for an answer; None: no vector could be made of the question. All who ask the same share one look."""
        looking = self._looking.get(ask.slot)
        if looking is None:
            looking = asyncio.create_task(self._find(ask, shelf), name="similar")
            self._looking[ask.slot] = looking
            looking.add_done_callback(lambda _: self._looking.pop(ask.slot, None))
        # Whoever was first may hang up: the others wait on.
        return await asyncio.shield(looking)

    def add(self, shelf: Shelf, vector: bytes, answer: Slot) -> None:
        """Remember a question whose answer is being stored, behind its client's back."""
        self._spawn(self._questions.add(shelf.slot, vector, answer))

    async def settle(self) -> None:
        """Wait until what is being stored is stored."""
        await asyncio.gather(*self._working, *self._looking.values(), return_exceptions=True)

    async def _find(self, ask: Ask, shelf: Shelf) -> Similar | None:
        vector = await self._vector(TaskKey(shelf.slot.owner, new_task_id()), shelf.text, ask.service_class)
        if vector is None:
            return None
        try:
            found = await self._questions.nearest(shelf.slot, vector, most_distance=self._rules.similar_distance)
        except CacheAway:
            # The log has it; the request goes its own way.
            return None
        answer = None if found is None else await self._answers.answer_at(found.slot)
        return Similar(vector) if found is None or answer is None else Similar(vector, answer, found.distance)

    async def _vector(self, key: TaskKey, text: str, service_class: ServiceClass) -> bytes | None:
        model = self._rules.similar_model
        if model is None or self._roster.roster.model(model, now_s=self._roster.now_s()) is None:
            return None
        asked = TaskSubmitted(model=model, texts=(text,), deadline_at_ms=now_ms() + round(_PATIENCE_S * 1000))
        answer, watch = AnswerText(), self._bus.feed.watch(key)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                try:
                    await self._bus.edge.append(subjects.submitted(service_class, key), encode(asked))
                except BaseException:
                    watch.close()
                    raise
                async for steps in follow(self._bus.source, key, watch=watch):
                    answer.take(steps)
        except (BusError, TimeoutError) as error:
            log.info("no vector was made of a question, so nothing similar is looked for: %s", error or "no answer")
            return None
        return answer.vectors[0] if len(answer.vectors) == 1 else None

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(_quietly(work))
        self._working.add(task)
        task.add_done_callback(self._working.discard)


async def _quietly(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except CacheAway:
        # The log has it: what was not stored is not found.
        return
    except Exception:
        log.exception("a question could not be remembered")
