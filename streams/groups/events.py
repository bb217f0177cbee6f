"""The part of the event catalogue that GROUPS holds: how shard groups come together and end (ADR 17)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from streams.event import Event
from streams.groups.part import GroupPart

_Fingerprint = Annotated[str, Meta(max_length=64)]


class GroupProposed(Event, frozen=True, kw_only=True, tag="group.proposed.v1"):
    """A node wants to lead a group for a model; members are asked."""

    at_ms: int
    leader: str
    model: str
    memory_bytes: int
    """What the members must hold together."""
    fingerprint: _Fingerprint
    """SHA-256 of the certificate that the leader shows to members, in hex; its device key has signed for it."""
    replaces: str | None = None
    """The group whose place it takes."""


class GroupJoined(Event, frozen=True, kw_only=True, tag="group.joined.v1"):
    """A node takes part: it lends this much memory, and waits for the leader at ``address``."""

    at_ms: int
    node: str
    address: str
    memory_bytes: int
    fingerprint: _Fingerprint
    """SHA-256 of the certificate that the member shows to the leader, in hex; its device key has signed for it."""


class GroupReady(Event, frozen=True, kw_only=True, tag="group.ready.v1"):
    """The model is split and loaded. Who joined and is not in ``parts`` was not needed, and is free again."""

    at_ms: int
    parts: tuple[GroupPart, ...]


class GroupDissolved(Event, frozen=True, kw_only=True, tag="group.dissolved.v1"):
    """The group is over: a member or its leader was lost or left, or somebody ended it. Another takes its place."""

    at_ms: int
    by: str
    reason: str


GroupEvent = GroupProposed | GroupJoined | GroupReady | GroupDissolved
"""All that GROUPS may hold."""
