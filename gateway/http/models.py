"""``GET /v1/models`` and ``/v1/models/{id}``: what the mesh can serve now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec
from aiohttp import web
from msgspec import Struct

from gateway.auth.caller import CALLER_KEY, need_model
from gateway.http.errors import ApiError
from streams.replica import Tier

if TYPE_CHECKING:
    from gateway.http.site import Site
    from streams.roster import ModelView, Wish

_JSON: Final = {"Content-Type": "application/json"}


class ModelObject(Struct, frozen=True, kw_only=True):
    """OpenAI's model object, and what else the mesh knows of it."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "ig3"
    context_tokens: int
    engine: str | None
    """None: nothing is loaded that could say."""
    quantisation: str | None
    nodes: int
    """How many nodes serve it now."""
    replicas: int
    """The same: a node has at most one replica of a model."""
    slots: int
    """Answers at once, on all of them together."""
    kind: str
    """``chat`` or ``embedding``."""
    tiers: tuple[Tier, ...]
    """Where its replicas run, the nearest first: ``edge``, ``group`` of devices, ``cloud``."""
    status: Literal["ready", "stored"] = "ready"
    """``stored``: no node serves it, and the first task for it has one fetch it from the store and load it."""


class ModelList(Struct, frozen=True, kw_only=True):
    """OpenAI's list of models."""

    object: Literal["list"] = "list"
    data: tuple[ModelObject, ...]


class Models:
    """The handlers."""

    def __init__(self, site: Site) -> None:
        """Serve for ``site``."""
        self._feed = site.roster_feed

    async def list_all(self, request: web.Request) -> web.Response:
        """Answer with every model that a live node serves, or that can be brought, and that the caller may ask."""
        caller, roster = request[CALLER_KEY], self._feed.roster
        views = roster.models(now_s=self._feed.now_s())
        served = {view.model for view in views}
        stored = (wish for wish in roster.wishes() if wish.most and wish.model not in served)
        found = sorted((*map(_model_object, views), *map(_stored_object, stored)), key=lambda one: one.id)
        body = ModelList(data=tuple(one for one in found if caller.may_ask(one.id)))
        return web.Response(body=msgspec.json.encode(body), headers=_JSON)

    async def show(self, request: web.Request) -> web.Response:
        """Answer with one model; its id may hold slashes."""
        name = request.match_info["model"]
        need_model(request[CALLER_KEY], name)
        view = self._feed.roster.model(name, now_s=self._feed.now_s())
        wish = self._feed.roster.could_bring(name)
        if view is None and wish is not None:
            return web.Response(body=msgspec.json.encode(_stored_object(wish)), headers=_JSON)
        if view is None:
            reason = "is served by no node now" if self._feed.roster.knows(name) else "does not exist"
            raise ApiError(404, f"The model `{name[:256]}` {reason}.", code="model_not_found", param="model")
        return web.Response(body=msgspec.json.encode(_model_object(view)), headers=_JSON)


def _stored_object(wish: Wish) -> ModelObject:
    file = wish.desired.file
    return ModelObject(
        id=file.name,
        created=wish.desired.at_ms // 1000,
        context_tokens=file.context_tokens or 0,
        engine=None,
        quantisation=file.quantisation,
        nodes=0,
        replicas=0,
        slots=0,
        kind="chat",
        tiers=(),
        status="stored",
    )


def _model_object(view: ModelView) -> ModelObject:
    return ModelObject(
        id=view.model,
        created=view.created_ms // 1000,
        context_tokens=view.context_tokens,
        engine=view.engine,
        quantisation=view.quantisation,
        nodes=len(view.nodes),
        replicas=len(view.nodes),
        slots=view.slots,
        kind=view.kind,
        tiers=view.tiers,
    )
