"""The response cache of one gateway: an answer that is there is given again, one that is being written is followed.

Who finds nothing claims the slot with the id of a task that is still to be submitted, as an idempotency key is (ADR 9):
whoever dies in between leaves a claim whose task the next one submits under the very same id. So a claim needs no lease
but the one that ends it for good.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec.structs import replace

from gateway.cache.flight import Flight
from gateway.cache.store import NOTHING_STORED, CacheAway
from streams.cache.messages import CacheAnswer, CacheClaim, CacheNear, CacheVoid
from streams.clock import now_ms
from streams.subjects import SERVICE_CLASSES
from streams.tasks.task_id import new_task_id
from streams.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gateway.cache.answers import Recorder
    from gateway.cache.key import Slot
    from gateway.cache.sealing import Body, Sealer
    from gateway.cache.similar import Shelf
    from gateway.cache.store import PatientStore, Stored
    from streams.subjects import ServiceClass, TaskKey

log = logging.getLogger(__name__)

_TRIES: Final = 8
"""Each of them fails because another gateway came between."""
_GRACE_MS: Final = 60_000
"""Behind its deadline a task has ended, and who comes then need not look for it."""
_SLACK_MS: Final = 5_000
"""How much later than its own deadline another task's may be: clocks of gateways differ, and so do moments."""
_MS: Final = timedelta(milliseconds=1)


class Ask(NamedTuple):
    """A request whose answer may come from the cache."""

    slot: Slot
    shared: Slot | None
    """Where the answer stands that all accounts may have, if they may."""
    service_class: ServiceClass
    deadline_at_ms: int
    may_cancel: bool
    """Whether its task is to be cancelled when the client hangs up."""
    is_fresh: bool = False
    """Whether what is stored will not do: the answer is generated anew, and stored."""
    with_calls: bool = False
    """Whether an answer that calls functions is stored too."""
    shelf: Shelf | None = None
    """Where to look for a question that is only similar, if that will do."""


class AnswerCache:
    """Finds, claims and keeps answers. A store that is away makes everything a bypass."""

    def __init__(
        self,
        store: PatientStore,
        sealer: Sealer,
        *,
        kept: timedelta,
        erased_at_ms: Callable[[Token], int | None],
        on_stored: Callable[[int], None] = lambda _size: None,
    ) -> None:
        """Keep answers in ``store``.

        Args:
            store: closed with this.
            sealer: makes and checks what is stored.
            kept: how long an answer is given again.
            erased_at_ms: when an account's content was erased last, in Unix milliseconds; None: never.
            on_stored: is told how many bytes were stored of each answer.
        """
        self._store = store
        self._sealer = sealer
        self._kept = kept
        self._erased_at_ms = erased_at_ms
        self._on_stored = on_stored
        self._looking: dict[Slot, asyncio.Task[CacheAnswer | Flight | None]] = {}
        self._flights: dict[str, Flight] = {}
        self._working: set[asyncio.Task[None]] = set()

    @property
    def is_away(self) -> bool:
        """Whether the store does not answer."""
        return self._store.is_away

    async def settle(self) -> None:
        """Wait until what is being stored is stored."""
        await asyncio.gather(*self._working, *self._looking.values(), return_exceptions=True)

    async def stop(self) -> None:
        """Let what is being stored be stored, and close the store."""
        await self.settle()
        await self._store.close()

    async def enter(self, ask: Ask, *, failed: Token | None = None) -> CacheAnswer | Flight | None:
        """Return the answer, or the task that writes it, to be left again; None: the request goes its own way.

        All who ask the same at once share one look. With ``failed``, the task of that id came to nothing, and another
        one is to take its place.
        """
        for _ in range(_TRIES):
            looking = self._looking.get(ask.slot)
            if looking is None:
                looking = asyncio.create_task(self._look_for_all(ask, failed), name="cache-enter")
                self._looking[ask.slot] = looking
            # Whoever was first may hang up: the others wait on.
            found = await asyncio.shield(looking)
            if not isinstance(found, Flight):
                return found
            if found.task != failed:
                return self._boarded(found) if _fits(found.claim, ask) else None
        return None

    async def answer_at(self, slot: Slot) -> CacheAnswer | None:
        """Return the answer that stands in a slot; nothing is claimed, and nobody is followed."""
        try:
            body = self._valid(slot, await self._store.read(slot))
        except CacheAway:
            # The log has it.
            return None
        return body if isinstance(body, CacheAnswer) else None

    def _boarded(self, found: Flight) -> Flight:
        flight = self._flights.setdefault(found.claim.task, found)
        flight.readers += 1
        return flight

    async def _look_for_all(self, ask: Ask, failed: Token | None) -> CacheAnswer | Flight | None:
        try:
            return await self._look(ask, failed)
        except CacheAway:
            # The log has it; the request goes its own way.
            return None
        finally:
            del self._looking[ask.slot]

    async def _look(self, ask: Ask, failed: Token | None) -> CacheAnswer | Flight | None:
        if ask.shared is not None and isinstance(answer := await self._shared(ask.shared), CacheAnswer):
            return answer
        standing = await self._store.read(ask.slot)
        for _ in range(_TRIES):
            body = self._valid(ask.slot, standing)
            if isinstance(body, CacheAnswer):
                return body
            if isinstance(body, CacheClaim) and body.task != failed:
                flight = await self._joined(ask, body, standing)
            else:
                flight = await self._claimed(ask, standing)
            if flight is not None:
                return flight
            standing = await self._store.read(ask.slot, is_newest=True)
        return None

    async def _shared(self, slot: Slot) -> Body | None:
        return self._valid(slot, await self._store.read(slot))

    async def _claimed(self, ask: Ask, standing: Stored) -> Flight | None:
        until_ms = min(ask.deadline_at_ms, now_ms() + self._kept // _MS) + _GRACE_MS
        claim = CacheClaim(
            task=new_task_id(),
            until_ms=until_ms,
            deadline_at_ms=ask.deadline_at_ms,
            service_class=ask.service_class,
            may_cancel=ask.may_cancel,
        )
        stored = await self._swap(ask.slot, standing, claim, until_ms)
        return None if stored is None else Flight(ask.slot, claim, stored, is_ours=True)

    async def _joined(self, ask: Ask, claim: CacheClaim, standing: Stored) -> Flight | None:
        """Follow somebody's task; None if the claim has changed meanwhile."""
        here = self._flights.get(claim.task)
        if here is not None:
            return here
        if claim.may_cancel and not claim.is_followed and _fits(claim, ask):
            claim = replace(claim, is_followed=True)
            changed = await self._swap(ask.slot, standing, claim, claim.until_ms)
            if changed is None:
                return None
            standing = changed
        return Flight(ask.slot, claim, standing, is_ours=False)

    def leave(self, flight: Flight) -> None:
        """A client here waits no more."""
        flight.readers -= 1
        if flight.readers == 0:
            self._flights.pop(flight.claim.task, None)

    # --- what becomes of a task --------------------------------------------------------------------------------------

    def keep(self, ask: Ask, key: TaskKey, recorder: Recorder, flight: Flight | None = None) -> None:
        """Store an answer that was read to its end, behind its client's back; once, however many have read it here."""
        if flight is not None and flight.is_kept:
            return
        at_ms = now_ms()
        until_ms = at_ms + self._kept // _MS
        answer = recorder.answer(key, at_ms=at_ms, until_ms=until_ms, with_calls=ask.with_calls)
        if answer is None:
            return
        if flight is not None:
            flight.is_kept = True
        self._spawn(self._keep(ask, answer, NOTHING_STORED if flight is None else flight.standing))

    def give_up(self, flight: Flight) -> None:
        """The task came to nothing: let the next one begin anew, instead of finding that out."""
        if flight.is_ours:
            self._spawn(self._void(flight))

    async def abandon(self, flight: Flight) -> bool:
        """Nobody here waits any more; whether nobody elsewhere does either, so that the task may be cancelled."""
        try:
            return await self._swap(flight.slot, flight.standing, CacheVoid(), flight.claim.until_ms) is not None
        except CacheAway:
            # Whether somebody follows is unknown.
            return False

    async def forget(self, owner: Token) -> None:
        """Delete all that is an owner's, as far as this is the gateway's to do; nothing of it is given out anyway."""
        try:
            await self._store.forget(owner)
        except CacheAway as error:
            log.warning("cached answers of account %s could not be deleted, and expire by themselves: %s", owner, error)

    async def _keep(self, ask: Ask, answer: CacheAnswer, standing: Stored) -> None:
        slot = ask.slot if ask.shared is None else ask.shared
        if ask.shared is not None or standing == NOTHING_STORED:
            standing = await self._store.read(slot)
        for _ in range(_TRIES):
            stored = await self._swap(slot, standing, answer, answer.until_ms, is_patient=True)
            if stored is not None:
                self._on_stored(len(stored.data))
                return
            standing = await self._store.read(slot, is_newest=True)
            body = self._valid(slot, standing)
            is_of_others = isinstance(body, CacheClaim) and body.task != answer.task
            if is_of_others or (isinstance(body, CacheAnswer) and not ask.is_fresh):
                return

    async def _void(self, flight: Flight) -> None:
        await self._swap(flight.slot, flight.standing, CacheVoid(), flight.claim.until_ms, is_patient=True)

    async def _swap(
        self, slot: Slot, standing: Stored, body: Body, until_ms: int, *, is_patient: bool = False
    ) -> Stored | None:
        kept = timedelta(milliseconds=max(1, until_ms - now_ms()))
        data = self._sealer.seal(slot, body)
        return await self._store.swap(slot, standing, data, kept=kept, is_patient=is_patient)

    def _valid(self, slot: Slot, standing: Stored) -> Body | None:
        """What stands in a slot, if it still holds."""
        body = self._sealer.open(slot, standing.data)
        if body is None or isinstance(body, CacheVoid | CacheNear) or body.until_ms <= now_ms():
            return None
        if isinstance(body, CacheAnswer):
            erased_at_ms = self._erased_at_ms(Token(body.account))
            if erased_at_ms is not None and body.at_ms <= erased_at_ms:
                return None
        return body

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(_quietly(work))
        self._working.add(task)
        task.add_done_callback(self._working.discard)


def _fits(claim: CacheClaim, ask: Ask) -> bool:
    """Whether who asks would have to wait no longer than for a task of their own."""
    as_urgent = SERVICE_CLASSES.index(claim.service_class) <= SERVICE_CLASSES.index(ask.service_class)
    return as_urgent and claim.deadline_at_ms <= ask.deadline_at_ms + _SLACK_MS


async def _quietly(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except CacheAway:
        # The log has it: what was not stored is generated again.
        return
    except Exception:
        log.exception("an answer could not be stored in the cache")
