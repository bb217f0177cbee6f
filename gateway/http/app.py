"""The application: which path goes where, and what every request passes on its way in and out."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.auth.caller import Door
from gateway.auth.sign_in import SignIn
from gateway.batches.handlers import Batches
from gateway.batches.log import BatchLog
from gateway.batches.runner import BatchRunner
from gateway.bridge import routes as bridge_routes
from gateway.bridge.bridge import Bridge
from gateway.dispatcher.settings import DispatcherSettings
from gateway.files.expiry import Expiry
from gateway.files.handlers import Files
from gateway.files.pieces import Uploads
from gateway.http.asking import Asking
from gateway.http.boundary import (
    CHAT_PATH,
    COMPLETIONS_PATH,
    EMBEDDINGS_PATH,
    MESSAGES_PATH,
    OPENAPI_PATH,
    RESPONSES_PATH,
    boundary,
    sign,
)
from gateway.http.cache.caching import Caching
from gateway.http.chat.question import read_chat
from gateway.http.completions.question import read_completion
from gateway.http.embeddings.question import Embeddings, read_embeddings
from gateway.http.health import Health
from gateway.http.messages.question import read_messages
from gateway.http.models import Models
from gateway.http.openapi.document import show_openapi
from gateway.http.origin import OriginPolicy
from gateway.http.responses.deletions import Deletions
from gateway.http.responses.handlers import Responses
from gateway.http.responses.history import History
from gateway.http.responses.question import ResponseReader
from gateway.http.sign_ins import SignIns
from gateway.http.site import SITE, Site
from gateway.http.tasks import Tasks
from gateway.http.vector_stores import routes as vector_store_routes
from gateway.http.wishes import Defaults
from gateway.intake.queue_gate import Limits, QueueGate
from gateway.limits.open_limiter import open_limiter
from gateway.page import routes as page_routes
from gateway.roster.backlog_feed import BacklogFeed
from gateway.usage.handlers import COSTS_PATH, USAGE_PATH, UsageViews
from gateway.usage.ledger_reads import LedgerReads
from mesh.access.credentials_check import CredentialsCheck
from mesh.files.store import FileStore
from mesh.files.uploads import UploadStore
from mesh.telemetry.telemetry import Telemetry
from streams.access.fold import LOCAL

if TYPE_CHECKING:
    from gateway.http.api import Read
    from gateway.http.metrics_page import MetricsPage
    from gateway.roster.feed import RosterFeed
    from gateway.settings import GatewaySettings
    from mesh.access.feed import AccessFeed
    from mesh.access.session_keys import SessionKeys
    from mesh.bus.service_bus import Bus
    from streams.tokens import Token

_BATCH_RUNNER: Final = web.AppKey("batch_runner", BatchRunner)
_FILE_EXPIRY: Final = web.AppKey("file_expiry", Expiry)


def build_app(
    bus: Bus,
    roster_feed: RosterFeed,
    settings: GatewaySettings,
    *,
    access: AccessFeed,
    sessions: SessionKeys,
    account: Token = LOCAL,
    retention: timedelta = timedelta(days=1),
    tasks: DispatcherSettings | None = None,
    telemetry: Telemetry | None = None,
    metrics: MetricsPage | None = None,
) -> web.Application:
    """Make the application.

    Args:
        bus: connected, with its feed started.
        roster_feed: started.
        settings: how to serve.
        access: started.
        sessions: what signs and verifies sessions.
        account: for whom requests without a credential speak, where there may be such.
        retention: how long the mesh keeps tasks; older ids are refused.
        tasks: what the dispatchers go by too: the usual deadline, and models to wait for.
        telemetry: what to record; nothing, if not given.
        metrics: the page of what was counted, if it is shown.

    Raises:
        GatewayError: if a store that the settings name cannot be used.
    """
    shared = tasks or DispatcherSettings()
    recorded = telemetry or Telemetry.off()
    gate = QueueGate(bus, BacklogFeed(bus.core), _limits(settings))
    site = Site(
        bus,
        roster_feed,
        settings,
        door=Door(CredentialsCheck(access, sessions), settings, account),
        sign_in=SignIn(bus.core, access, sessions, settings),
        sessions=sessions,
        defaults=_defaults(settings, shared, retention),
        known_models=shared.known_models,
        aliases=shared.alias_table,
        policy=OriginPolicy(settings),
        telemetry=recorded,
        gate=gate,
        limiter=open_limiter(bus.core, settings),
        caching=Caching(bus, roster_feed, settings, access, sessions, shared.alias_table, recorded),
    )
    # The limit of request.read() itself; a body that says its size is refused before it is read.
    app = web.Application(middlewares=[boundary(site)], client_max_size=settings.http_body_limit)
    app[SITE] = site
    access.subscribe(site.readers.look)
    app.on_response_prepare.append(sign)
    app.on_startup.append(_on_startup)
    app.on_shutdown.append(_on_shutdown)
    _add_routes(app, site, retention)
    if metrics is not None:
        app.router.add_get("/metrics", metrics.show)
    return app


def _add_routes(app: web.Application, site: Site, retention: timedelta) -> None:
    bridge = Bridge(site.bus, site.roster_feed, site.door)
    bridge_routes.add_routes(app, bridge)
    site.leaving.on_begin(bridge.dismiss)
    page_routes.add_routes(app)
    ledger = LedgerReads(site.bus.core)
    models, tasks, health = Models(site, ledger), Tasks(site), Health(site)
    usage = UsageViews(ledger)
    sign_ins = SignIns(site)
    app.router.add_post(CHAT_PATH, Asking(site, read_chat).create)
    app.router.add_post(COMPLETIONS_PATH, Asking(site, read_completion).create)
    app.router.add_post(EMBEDDINGS_PATH, Embeddings(site).create)
    app.router.add_post(MESSAGES_PATH, Asking(site, read_messages).create)
    _add_files(app, site, retention, responses=_add_responses(app, site))
    app.router.add_get(USAGE_PATH, usage.usage)
    app.router.add_get(COSTS_PATH, usage.costs)
    app.router.add_get("/v1/models", models.list_all)
    app.router.add_get("/v1/models/{model:.+}", models.show)
    app.router.add_get("/v1/tasks/{task}", tasks.show)
    app.router.add_get("/v1/tasks/{task}/events", tasks.events, allow_head=False)
    app.router.add_post("/v1/tasks/{task}/cancel", tasks.cancel)
    app.router.add_post("/v1/auth/challenge", sign_ins.challenge)
    app.router.add_post("/v1/auth/login", sign_ins.login)
    app.router.add_post("/v1/auth/renew", sign_ins.renew)
    app.router.add_post("/v1/auth/sign-out", sign_ins.sign_out)
    app.router.add_get("/v1/auth/me", sign_ins.me)
    app.router.add_get("/healthz", health.alive)
    app.router.add_get(OPENAPI_PATH, show_openapi)
    app.router.add_get("/readyz", health.ready)


def _add_files(app: web.Application, site: Site, retention: timedelta, *, responses: Read) -> None:
    store, log = FileStore(site.bus.core), BatchLog(site.bus.core)
    readers: dict[str, Read] = {
        CHAT_PATH: read_chat,
        COMPLETIONS_PATH: read_completion,
        EMBEDDINGS_PATH: read_embeddings,
        RESPONSES_PATH: responses,
    }
    files, batches = Files(site, store), Batches(site, store, log, readers, retention)
    app.router.add_post("/v1/files", files.create)
    app.router.add_get("/v1/files", files.list_all)
    app.router.add_get("/v1/files/{file}", files.show)
    app.router.add_get("/v1/files/{file}/content", files.content)
    app.router.add_delete("/v1/files/{file}", files.delete)
    vector_store_routes.add_routes(app, site, store)
    uploads = Uploads(site, UploadStore(site.bus.core, store), store)
    app.router.add_post("/v1/uploads", uploads.create)
    app.router.add_post("/v1/uploads/{upload}/parts", uploads.add)
    app.router.add_post("/v1/uploads/{upload}/complete", uploads.complete)
    app.router.add_post("/v1/uploads/{upload}/cancel", uploads.cancel)
    app.router.add_post("/v1/batches", batches.create)
    app.router.add_get("/v1/batches", batches.list_all)
    app.router.add_get("/v1/batches/{batch}", batches.show)
    app.router.add_post("/v1/batches/{batch}/cancel", batches.cancel)
    app[_BATCH_RUNNER] = BatchRunner(site, store, log, readers)
    app[_FILE_EXPIRY] = Expiry(site, store)


def _add_responses(app: web.Application, site: Site) -> Read:
    """Add the routes; returns what reads their requests, for batches."""
    deletions = Deletions(site.bus.core)
    history = History(site, deletions)
    responses = Responses(site, history, deletions)
    read = ResponseReader(history).read
    app.router.add_post(RESPONSES_PATH, Asking(site, read).create)
    app.router.add_get("/v1/responses/{response}", responses.show, allow_head=False)
    app.router.add_delete("/v1/responses/{response}", responses.delete)
    app.router.add_post("/v1/responses/{response}/cancel", responses.cancel)
    app.router.add_get("/v1/responses/{response}/input_items", responses.items)
    return read


def _defaults(settings: GatewaySettings, shared: DispatcherSettings, retention: timedelta) -> Defaults:
    return Defaults(
        urgency=settings.urgency,
        on_disconnect=settings.on_disconnect,
        deadline=shared.deadline,
        retention=retention,
    )


def _limits(settings: GatewaySettings) -> Limits:
    return Limits(
        open_tasks=settings.open_limit,
        open_tasks_of=settings.open_limits,
        waiting=settings.waiting_limit,
        dispatcher_patience_s=settings.dispatcher_patience.total_seconds(),
    )


async def _on_startup(app: web.Application) -> None:
    site = app[SITE]
    site.bus.on_end(site.limiter.on_end)
    await site.limiter.start()
    site.caching.start()
    await site.gate.start()
    await app[_BATCH_RUNNER].start()
    app[_FILE_EXPIRY].start()


async def _on_shutdown(app: web.Application) -> None:
    app[SITE].leaving.begin()
    await app[_BATCH_RUNNER].stop()
    await app[_FILE_EXPIRY].stop()
    await app[SITE].finish()
    await app[SITE].gate.stop()
    await app[SITE].limiter.stop()
    await app[SITE].caching.stop()
