"""The part of the event catalogue that MODELS holds: which node serves which model."""

from __future__ import annotations

from streams.event import Event
from streams.replica import Replica


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


ModelEvent = ModelAnnounced | ModelWithdrawn | ModelRefused
"""All that MODELS may hold."""
