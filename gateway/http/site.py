"""What all handlers of one gateway share."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from msgspec.structs import replace

from gateway.auth.caller import need_model, need_tools
from gateway.fetching.fetcher import Fetcher, FetchPolicy
from gateway.http.errors import from_task_error
from gateway.http.leaving import Leaving
from gateway.http.measuring import OpenAnswers
from gateway.http.protection import protection
from gateway.http.readers import Readers
from gateway.http.vector_stores.shelf import Shelf
from gateway.intake.demands import inability
from gateway.intake.idempotency import IdempotencyKeys
from gateway.intake.submissions import Submissions
from gateway.limits.bounds import answer_error, capped, shortened

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Mapping

    from gateway.auth.caller import Door
    from gateway.auth.sign_in import SignIn
    from gateway.http.cache.caching import Caching
    from gateway.http.origin import OriginPolicy
    from gateway.http.wishes import Defaults
    from gateway.intake.queue_gate import QueueGate
    from gateway.limits.limiter import Limiter
    from gateway.roster.feed import RosterFeed
    from gateway.scheduling.aliases import Alias
    from gateway.settings import GatewaySettings
    from mesh.access.caller import Caller
    from mesh.access.session_keys import SessionKeys
    from mesh.bus.service_bus import Bus
    from mesh.telemetry.telemetry import Telemetry
    from streams.access.limits import Bounds
    from streams.events import TaskError, TaskSubmitted

log = logging.getLogger(__name__)

REQUEST_ID_KEY: Final = web.RequestKey("request_id", str)
TASK_KEY: Final = web.RequestKey("task", str)
CACHE_KEY: Final = web.RequestKey("cache", str)
"""What the response cache had: hit, similar, miss or bypass."""
DISTANCE_KEY: Final = web.RequestKey("distance", str)
"""How far away the question was whose answer is given to a similar one."""
STARTED_KEY: Final = web.RequestKey("started_s", float)


class Site:
    """The bus, the roster, the settings, and what runs in the background for requests that are gone."""

    def __init__(
        self,
        bus: Bus,
        roster_feed: RosterFeed,
        settings: GatewaySettings,
        *,
        door: Door,
        sign_in: SignIn,
        sessions: SessionKeys,
        defaults: Defaults,
        known_models: Collection[str],
        aliases: Mapping[str, Alias],
        policy: OriginPolicy,
        telemetry: Telemetry,
        gate: QueueGate,
        limiter: Limiter,
        caching: Caching,
    ) -> None:
        """Gather; nothing starts here."""
        self.bus = bus
        self.roster_feed = roster_feed
        self.settings = settings
        self.door = door
        self.sign_in = sign_in
        self.sessions = sessions
        self._defaults = defaults
        self._disconnects = settings.disconnects
        self._redactions = settings.redactions
        self._bound_rules = settings.bound_rules
        self.policy = policy
        self.telemetry = telemetry
        self.open_answers = OpenAnswers(telemetry)
        self.submissions = Submissions(bus.edge)
        self.keys = IdempotencyKeys(bus.core)
        self.gate = gate
        self.limiter = limiter
        self.caching = caching
        self.protection = protection(by_tls=settings.tls is not None)
        self.shelf = Shelf(bus.core)
        self.fetcher = Fetcher(FetchPolicy(urls=settings.fetch_urls))
        self.leaving = Leaving()
        self.readers = Readers(door)
        self.aliases = aliases
        self._known_models = frozenset(known_models) | frozenset(aliases)
        self._tasks: set[asyncio.Task[None]] = set()

    async def is_known(self, model: str) -> bool:
        """Whether a task for the model is taken: it was announced once, or is expected.

        Raises:
            BusError: if it was not heard of here, and whether it was announced cannot be read.
        """
        if not self._knows(model):
            # What a node announced a moment ago may not have come here yet, and nobody is refused for that.
            await self.roster_feed.models.catch_up()
        return self._knows(model)

    def _knows(self, model: str) -> bool:
        return self.roster_feed.roster.knows(model) or model in self._known_models

    def inability(self, asked: TaskSubmitted) -> TaskError | None:
        """Say why no replica that is announced can do what a task demands, or None."""
        return inability(asked, self.roster_feed.roster, self.aliases)

    def defaults_of(self, caller: Caller) -> Defaults:
        """What holds for a caller's requests where they say nothing, and what they may say at most."""
        account, bounds = caller.account, self.bounds_of(caller)
        on_disconnect, redaction = self._disconnects.get(account), self._redactions.get(account)
        if on_disconnect is None and redaction is None and not bounds.has_any:
            return self._defaults
        usual = self._defaults.on_disconnect if on_disconnect is None else on_disconnect
        return replace(self._defaults, on_disconnect=usual, redaction=redaction, bounds=bounds)

    def bounds_of(self, caller: Caller) -> Bounds:
        """How large a caller's answers may be, and how long they may take."""
        return caller.bounds.within(self._bound_rules.of_account(caller.account))

    def need_allowed(self, caller: Caller, asked: TaskSubmitted, *, is_length_usual: bool = False) -> TaskSubmitted:
        """Return what somebody asks, no more of it than they may have.

        With ``is_length_usual`` nobody has asked for the length that the answer has.

        Raises:
            NotAllowed: the model or a function is not open to them.
            ApiError: 400, the answer that they ask for is too long.
        """
        need_model(caller, asked.model)
        need_tools(caller, asked.tools)
        bounds = self.bounds_of(caller)
        if is_length_usual:
            return shortened(asked, bounds)
        if (error := answer_error(asked, bounds)) is not None:
            raise from_task_error(error)
        return capped(asked, bounds)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that outlives its request."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self) -> None:
        """Wait for what runs in the background, and tell what was not told yet."""
        self.open_answers.tell()
        await asyncio.gather(*self._tasks, return_exceptions=True)


SITE: Final = web.AppKey("site", Site)
