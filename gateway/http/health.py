"""``/healthz``: this process lives. ``/readyz``: it could serve a request now, asked of the bus itself."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal

import msgspec
from aiohttp import web
from msgspec import Struct

from mesh.errors import BusError

if TYPE_CHECKING:
    from gateway.http.site import Site
    from mesh.bus.link import Link

_JSON: Final = {"Content-Type": "application/json", "Cache-Control": "no-store"}
_ALIVE: Final = b'{"status":"ok"}'
_JETSTREAM: Final = "$JS.API.INFO"
_TIMEOUT: Final = timedelta(seconds=2)


class Readiness(Struct, frozen=True, kw_only=True):
    """Whether requests can be served, and with how many nodes; zero nodes is ready, since tasks wait."""

    status: Literal["ready", "not ready"]
    reason: str | None = None
    live_nodes: int = 0
    models: tuple[str, ...] = ()


class Health:
    """The handlers."""

    def __init__(self, site: Site) -> None:
        """Serve for ``site``."""
        self._site = site

    async def alive(self, _: web.Request) -> web.Response:
        """Answer."""
        return web.Response(body=_ALIVE, headers=_JSON)

    async def ready(self, _: web.Request) -> web.Response:
        """Answer 200 if the bus is there and stores events, else 503 with the reason."""
        reason = await self._find_reason()
        if reason is not None:
            body = Readiness(status="not ready", reason=reason)
            return web.Response(status=503, body=msgspec.json.encode(body), headers={**_JSON, "Retry-After": "1"})
        feed = self._site.roster_feed
        now_s = feed.now_s()
        live = sum(node.is_live for node in feed.roster.nodes(now_s=now_s))
        models = tuple(view.model for view in feed.roster.models(now_s=now_s))
        body = Readiness(status="ready", live_nodes=live, models=models)
        return web.Response(body=msgspec.json.encode(body), headers=_JSON)

    async def _find_reason(self) -> str | None:
        if self._site.leaving.has_begun:
            return "the gateway is stopping"
        if (trouble := self._site.gate.trouble) is not None:
            return trouble
        bus = self._site.bus
        if not bus.is_connected:
            return "the bus is not connected"
        try:
            reasons = await asyncio.gather(_jetstream_reason(bus.edge), _jetstream_reason(bus.core))
        except BusError as error:
            return f"the bus does not answer: {error}"
        return next((reason for reason in reasons if reason is not None), None)


async def _jetstream_reason(link: Link) -> str | None:
    answer = json.loads((await link.request(_JETSTREAM, b"", timeout=_TIMEOUT)).data)
    error = answer.get("error")
    return None if error is None else f"JetStream: {error.get('description')}"
