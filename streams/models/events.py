"""The part of the event catalogue that MODELS holds: which node serves which model."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from streams.devices.replica import Replica
from streams.event import Event
from streams.models.store import StoredModel

Replicas = Annotated[int, Meta(ge=0, le=10_000)]
Region = Annotated[str, Meta(min_length=1, max_length=64)]


class InRegion(Struct, frozen=True, kw_only=True):
    """So many of a model's replicas are kept in a region that tasks must not leave."""

    region: Region
    replicas: Replicas


class ModelAnnounced(Event, frozen=True, kw_only=True, tag="model.announced.v1"):
    """A node serves a model; written by the registry after its checks."""

    at_ms: int
    node: str
    replica: Replica


class ModelWithdrawn(Event, frozen=True, kw_only=True, tag="model.withdrawn.v1"):
    """A node no longer serves a model."""

    at_ms: int
    node: str
    model: str
    reason: str


class ModelRefused(Event, frozen=True, kw_only=True, tag="model.refused.v1"):
    """A node announced a model and could not serve it when the registry tried: nothing is placed there."""

    at_ms: int
    node: str
    model: str
    reason: str


class ModelDesired(Event, frozen=True, kw_only=True, tag="model.desired.v1"):
    """How many replicas of a model of the store there shall be; the last one of a model holds."""

    at_ms: int
    file: StoredModel
    """What the store had under the model's name when this was decided."""
    replicas: Replicas
    """So many, or with ``most`` at least so many."""
    most: Replicas | None = None
    """As many as are asked for, up to this; ``None``: just ``replicas``."""
    by: str = ""
    """Who decided it."""
    regions: Annotated[tuple[Region, ...], Meta(max_length=16)] = ()
    """Only nodes that say one of these regions are told to load it; none: any node."""


class ModelScaled(Event, frozen=True, kw_only=True, tag="model.scaled.v1"):
    """What demand makes of a wish that leaves room for it."""

    at_ms: int
    model: str
    replicas: Replicas
    reason: str
    regions: Annotated[tuple[InRegion, ...], Meta(max_length=64)] = ()
    """Where some of them are, for tasks that must not leave a region."""


ModelEvent = ModelAnnounced | ModelWithdrawn | ModelRefused | ModelDesired | ModelScaled
"""All that MODELS may hold."""
