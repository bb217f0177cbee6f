"""The response cache as one gateway's requests see it: what may come from it, and what it keeps of who asked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec.structs import replace

from gateway.cache.cache import AnswerCache, Ask
from gateway.cache.counts import CacheCounts
from gateway.cache.hits import HitLog
from gateway.cache.key import canonical, slot_of
from gateway.cache.nats_store import NatsStore
from gateway.cache.redis_store import RedisStore
from gateway.cache.sealing import Sealer
from gateway.cache.similar import SimilarQuestions, shelf_of
from gateway.cache.store import PatientStore
from gateway.http.cache.similar import SimilarAnswers
from gateway.http.errors import ApiError
from gateway.http.wishes import CACHE, IDEMPOTENCY_KEY
from streams.cache.subjects import SHARED
from streams.clock import now_ms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from gateway.http.cache.use import CacheUse
    from gateway.http.wishes import Wishes
    from gateway.roster.feed import RosterFeed
    from gateway.scheduling.aliases import Alias
    from gateway.settings import GatewaySettings
    from mesh.access.feed import AccessFeed
    from mesh.access.session_keys import SessionKeys
    from mesh.bus.service_bus import Bus
    from mesh.telemetry.telemetry import Telemetry
    from streams.events import TaskSubmitted
    from streams.tokens import Token

_WISHES: Final = ("use", "similar", "off")


class _Said(NamedTuple):
    """What a request's headers say of the cache."""

    uses: bool = False
    avoids: bool = False
    is_fresh: bool = False
    takes_similar: bool = False


_NOTHING_SAID: Final = _Said()


class Caching:
    """What handlers need of the cache."""

    def __init__(
        self,
        bus: Bus,
        roster: RosterFeed,
        settings: GatewaySettings,
        access: AccessFeed,
        sessions: SessionKeys,
        aliases: Mapping[str, Alias],
        telemetry: Telemetry,
    ) -> None:
        """Prepare.

        Raises:
            GatewayError: if the store that the settings name cannot be used.
        """
        self.rules = settings.cache_rules
        self.counts = CacheCounts(telemetry)
        core = bus.core
        self.hits = HitLog(core) if self.rules.are_hits_kept else None
        self._access = access
        self._sessions = sessions
        self._aliases = aliases
        self._deletes = settings.redis_url is not None
        self._erased: dict[Token, int] = {}
        self._deleting: set[asyncio.Task[None]] = set()
        inner = NatsStore(core) if settings.redis_url is None else RedisStore(settings.redis_url)
        store, sealer = PatientStore(inner, self.rules.patience), Sealer(lambda: sessions.nonce_secret)
        self.cache = AnswerCache(
            store,
            sealer,
            kept=self.rules.ttl,
            erased_at_ms=self._erased_at_ms,
            on_stored=self.counts.stored,
        )
        questions = SimilarQuestions(store, sealer, kept=self.rules.ttl)
        self.similar = SimilarAnswers(bus, roster, questions, self.cache, self.rules)

    def start(self) -> None:
        """Begin to delete what is erased elsewhere."""
        if self._deletes:
            self._access.subscribe(self._look_for_erased)
            self._look_for_erased()

    async def stop(self) -> None:
        """Write what was not written yet, and let go of the store."""
        self.counts.tell()
        if self.hits is not None:
            await self.hits.stop()
        await asyncio.gather(*self._deleting, return_exceptions=True)
        await self.similar.settle()
        await self.cache.stop()

    def may_use(self, request: web.Request, cache_use: CacheUse, wishes: Wishes) -> _Said | None:
        """Whether the answer to a request may come from the cache, and go there; None: it goes its own way.

        Raises:
            ApiError: 400, if a header says what nobody can do.
        """
        said = _said(request)
        if said.takes_similar and self.rules.similar_model is None:
            message = "Similar questions are not looked for here: the operator has set no cache_similar_model."
            raise ApiError(400, message, code="unsupported_value", param=CACHE)
        if self.rules.mode == "off" or said.avoids:
            return None
        by_itself = self.rules.mode == "on" and cache_use == "usual"
        if cache_use == "never" or not (said.uses or by_itself):
            return None
        # Who names a task means that one, and its idempotency key is its own promise (ADR 9).
        if wishes.task is not None or wishes.after or IDEMPOTENCY_KEY in request.headers:
            return None
        return said

    def ask(self, account: Token, draft: TaskSubmitted, wishes: Wishes, said: _Said) -> Ask:
        """Name what is asked for."""
        alias = self._aliases.get(draft.model)
        models = () if alias is None else alias.models
        task = replace(draft, rules=wishes.rules)
        request = canonical(task, models)
        secret = self._sessions.nonce_secret
        embedder, shelf = self.rules.similar_model, None
        if said.takes_similar and embedder is not None:
            shelf = shelf_of(secret, account, task, models=models, embedder=embedder)
        # What is similar is looked for among the account's own.
        is_shared = draft.model in self.rules.shared_models and not said.takes_similar
        return Ask(
            slot=slot_of(secret, account, request),
            shared=slot_of(secret, SHARED, request) if is_shared else None,
            service_class=wishes.urgency,
            deadline_at_ms=wishes.deadline_at_ms,
            may_cancel=wishes.on_disconnect == "cancel",
            is_fresh=said.is_fresh,
            with_calls=said.uses and not said.takes_similar,
            shelf=shelf,
        )

    def _erased_at_ms(self, account: Token) -> int | None:
        standing = self._access.access.account(account)
        return None if standing is None else standing.erased_at_ms

    def _look_for_erased(self) -> None:
        oldest_ms = now_ms() - round(self.rules.ttl.total_seconds() * 1000)
        for account in self._access.access.accounts():
            at_ms = account.erased_at_ms
            if at_ms is not None and at_ms > oldest_ms and self._erased.get(account.account) != at_ms:
                self._erased[account.account] = at_ms
                for owner in (account.account, SHARED):
                    task = asyncio.create_task(self.cache.forget(owner))
                    self._deleting.add(task)
                    task.add_done_callback(self._deleting.discard)


def _said(request: web.Request) -> _Said:
    headers = request.headers
    wish, control = headers.get(CACHE), headers.get("Cache-Control")
    if wish is None and control is None:
        return _NOTHING_SAID
    if wish is not None and wish not in _WISHES:
        message = f"The value of {CACHE} cannot be used: use one of {', '.join(_WISHES)}."
        raise ApiError(400, message, code="invalid_value", param=CACHE)
    directives = {part.strip().lower() for part in (control or "").split(",")}
    return _Said(
        uses=wish in {"use", "similar"},
        takes_similar=wish == "similar",
        avoids=wish == "off" or "no-store" in directives,
        is_fresh="no-cache" in directives,
    )
