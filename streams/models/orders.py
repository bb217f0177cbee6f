"""How a node is told to take up or give up a model of the store, and what it says of its room for one."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from streams.models.store import ModelName
from streams.tasks.chat import Count
from streams.wire import Wire


class ModelOrder(Wire, frozen=True, kw_only=True, tag="node.model_order.v1"):
    """Take up, or give up, a model of the store. What comes of it is in the node's reports and announcements."""

    action: Literal["load", "evict"]
    model: ModelName


class ModelOrdered(Wire, frozen=True, kw_only=True, tag="node.model_ordered.v1"):
    """The answer, at once: whether the node will do it, and why not."""

    accepted: bool
    reason: str = ""


class FailedModel(Struct, frozen=True, kw_only=True):
    """A model that the node was told to load and could not."""

    model: str
    reason: str


class NodeRoom(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whether a node takes up models when it is told to, and what it has room for."""

    takes_models: bool = False
    free_memory_bytes: Count | None = None
    disk_bytes: Count | None = None
    """The largest model that its settings let it keep."""
    placed: Annotated[tuple[str, ...], Meta(max_length=64)] = ()
    """What it has loaded because it was told to, and may be told to give up; what its owner chose is not here."""
    loading: Annotated[tuple[str, ...], Meta(max_length=64)] = ()
    """What it fetches or loads now."""
    failed: Annotated[tuple[FailedModel, ...], Meta(max_length=64)] = ()
    """Orders that came to nothing since it was started, the newest of each model."""
    region: Annotated[str, Meta(max_length=64)] | None = None
    """Where what it serves is, for tasks that must not leave a region."""
