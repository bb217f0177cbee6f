"""``GET /v1/models`` and ``/v1/models/{id}``: what the mesh can serve now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, get_args

import msgspec
from aiohttp import web
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from gateway.auth.caller import CALLER_KEY, need_model
from gateway.http.errors import ApiError
from streams.billing.money import decimal_of
from streams.devices.replica import Ability, Tier
from streams.ledger.prices import rule_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.http.site import Site
    from gateway.scheduling.aliases import Alias
    from gateway.usage.ledger_reads import LedgerReads
    from streams.billing.events import PriceRule, PricesSet
    from streams.devices.roster import ModelView, Wish

_JSON: Final = {"Content-Type": "application/json"}


class ModelPrice(Struct, frozen=True, kw_only=True):
    """What one token costs, as decimal strings."""

    tier: Tier
    currency: str
    prompt: str
    """Of a prompt; of the texts that an embedding model reads."""
    cached_prompt: str
    """Of a prompt, where the model's engine had read it before."""
    completion: str


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
    pricing: tuple[ModelPrice, ...] | UnsetType = UNSET
    """What a token costs in each tier that its replicas run in; not there: no price is set."""


class ModelList(Struct, frozen=True, kw_only=True):
    """OpenAI's list of models."""

    object: Literal["list"] = "list"
    data: tuple[ModelObject, ...]


class Models:
    """The handlers."""

    def __init__(self, site: Site, ledger: LedgerReads) -> None:
        """Serve for ``site``; ``ledger`` knows the prices."""
        self._ledger = ledger
        self._feed = site.roster_feed
        self._aliases = site.aliases

    async def list_all(self, request: web.Request) -> web.Response:
        """Answer with every model that a live node serves, or that can be brought, and that the caller may ask."""
        caller, roster = request[CALLER_KEY], self._feed.roster
        served = {view.model: view for view in roster.models(now_s=self._feed.now_s())}
        stored = (wish for wish in roster.wishes() if wish.most and wish.model not in served)
        aliases = (_alias_object(alias, served) for alias in self._aliases.values())
        models = sorted((*map(_model_object, served.values()), *map(_stored_object, stored)), key=lambda one: one.id)
        prices = (await self._ledger.prices()).current
        found = (*(one for one in aliases if one is not None), *(_priced(one, prices) for one in models))
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
        if view is not None:
            found = _model_object(view)
        elif wish is not None:
            found = _stored_object(wish)
        else:
            reason = "is served by no node now" if self._feed.roster.knows(name) else "does not exist"
            raise ApiError(404, f"The model `{name[:256]}` {reason}.", code="model_not_found", param="model")
        priced = _priced(found, (await self._ledger.prices()).current)
        return web.Response(body=msgspec.json.encode(priced), headers=_JSON)

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


def _priced(model: ModelObject, prices: PricesSet | None) -> ModelObject:
    """Say what a model costs, in each tier that it runs in; one that is only stored would run on a device."""
    if prices is None:
        return model
    tiers: tuple[Tier, ...] = model.tiers or ("edge",)
    pricing = tuple(
        _price(rule, tier, prices.currency, model.kind)
        for tier in tiers
        if (rule := rule_for(prices, model.id, tier)) is not None
    )
    return replace(model, pricing=pricing) if pricing else model


def _price(rule: PriceRule, tier: Tier, currency: str, kind: str) -> ModelPrice:
    if kind == "embedding":
        text = decimal_of(rule.prompt if rule.embedding is None else rule.embedding)
        return ModelPrice(tier=tier, currency=currency, prompt=text, cached_prompt=text, completion="0")
    return ModelPrice(
        tier=tier,
        currency=currency,
        prompt=decimal_of(rule.prompt),
        cached_prompt=decimal_of(rule.prompt if rule.cached_prompt is None else rule.cached_prompt),
        completion=decimal_of(rule.completion),
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
