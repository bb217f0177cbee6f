"""``GET /v1/models`` and ``/v1/models/{id}``: what the mesh can serve now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, get_args

import msgspec
from aiohttp import web
from msgspec import UNSET, Struct, UnsetType

from gateway.auth.caller import CALLER_KEY, need_model
from gateway.http.errors import ApiError
from streams.replica import Ability, Tier

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.http.site import Site
    from gateway.scheduling.aliases import Alias
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
    abilities: tuple[Ability, ...] = ()
    """What one of its replicas, or another, can do beyond plain text: ``tools``, ``schema``, ``vision`` and so on."""
    alias_of: tuple[str, ...] | UnsetType = UNSET
    """Of an alias: the models that answer for it now, in the order of the settings."""


class ModelList(Struct, frozen=True, kw_only=True):
    """OpenAI's list of models."""

    object: Literal["list"] = "list"
    data: tuple[ModelObject, ...]


class Models:
    """The handlers."""

    def __init__(self, site: Site) -> None:
        """Serve for ``site``."""
        self._feed = site.roster_feed
        self._aliases = site.aliases

    async def list_all(self, request: web.Request) -> web.Response:
        """Answer with every model that a live node serves, or that can be brought, and that the caller may ask."""
        caller, roster = request[CALLER_KEY], self._feed.roster
        served = {view.model: view for view in roster.models(now_s=self._feed.now_s())}
        stored = (wish for wish in roster.wishes() if wish.most and wish.model not in served)
        aliases = (_alias_object(alias, served) for alias in self._aliases.values())
        models = sorted((*map(_model_object, served.values()), *map(_stored_object, stored)), key=lambda one: one.id)
        found = (*(one for one in aliases if one is not None), *models)
        body = ModelList(data=tuple(one for one in found if caller.may_ask(one.id)))
        return web.Response(body=msgspec.json.encode(body), headers=_JSON)

    async def show(self, request: web.Request) -> web.Response:
        """Answer with one model; its id may hold slashes."""
        name = request.match_info["model"]
        need_model(request[CALLER_KEY], name)
        if (alias := self._aliases.get(name)) is not None:
            return self._show_alias(alias)
        view = self._feed.roster.model(name, now_s=self._feed.now_s())
        wish = self._feed.roster.could_bring(name)
        if view is None and wish is not None:
            return web.Response(body=msgspec.json.encode(_stored_object(wish)), headers=_JSON)
        if view is None:
            reason = "is served by no node now" if self._feed.roster.knows(name) else "does not exist"
            raise ApiError(404, f"The model `{name[:256]}` {reason}.", code="model_not_found", param="model")
        return web.Response(body=msgspec.json.encode(_model_object(view)), headers=_JSON)

    def _show_alias(self, alias: Alias) -> web.Response:
        now_s = self._feed.now_s()
        views = ((model, self._feed.roster.model(model, now_s=now_s)) for model in alias.models)
        found = _alias_object(alias, {model: view for model, view in views if view is not None})
        if found is None:
            message = f"None of the models that `{alias.name[:256]}` stands for is served by a node now."
            raise ApiError(404, message, code="model_not_found", param="model")
        return web.Response(body=msgspec.json.encode(found), headers=_JSON)


def _alias_object(alias: Alias, served: Mapping[str, ModelView]) -> ModelObject | None:
    """An alias as a model; None while no model answers for it. What each of them is like, their own entries say."""
    views = [served[model] for model in alias.models if model in served]
    if not views:
        return None
    return ModelObject(
        id=alias.name,
        created=min(view.created_ms for view in views) // 1000,
        context_tokens=max(view.context_tokens for view in views),
        engine=views[0].engine,
        quantisation=views[0].quantisation,
        nodes=len({node for view in views for node in view.nodes}),
        replicas=sum(len(view.nodes) for view in views),
        slots=sum(view.slots for view in views),
        kind=views[0].kind,
        tiers=tuple(tier for tier in get_args(Tier) if any(tier in view.tiers for view in views)),
        abilities=tuple(sorted({ability for view in views for ability in view.abilities})),
        alias_of=tuple(view.model for view in views),
    )


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
        abilities=view.abilities,
    )
