"""How a shard group comes together and ends: requests on core NATS (``api.node.<node>.group``, ``node.<node>.group``).

What came of them is an event on GROUPS (``streams.groups.events``), written by the registry alone.
"""

from __future__ import annotations

from typing import Annotated, Final, get_args

from msgspec import Meta, Struct

from streams.devices.link_identity import LinkIdentity
from streams.groups.part import GroupPart
from streams.wire import Wire

GroupId = Annotated[str, Meta(max_length=64)]
_Text = Annotated[str, Meta(max_length=512)]
_Model = Annotated[str, Meta(min_length=1, max_length=256)]
_Bytes = Annotated[int, Meta(ge=0, le=2**60)]


class GroupPlace(Struct, frozen=True, kw_only=True):
    """Where a member waits for its leader, and how much it takes."""

    address: Annotated[str, Meta(max_length=300)]
    """``HOST:PORT``, as the leader dials it."""
    memory_bytes: _Bytes
    identity: LinkIdentity


# --- leader -> registry: api.node.<node>.group -------------------------------------------------------------------


class GroupWanted(Wire, frozen=True, kw_only=True, tag="group.wanted.v1"):
    """I want to serve a model whose rest takes ``memory_bytes`` on other nodes: find me members."""

    model: _Model
    memory_bytes: _Bytes
    identity: LinkIdentity
    replaces: GroupId | None = None
    """The group that ended, if this one takes its place."""


class GroupIsReady(Wire, frozen=True, kw_only=True, tag="group.is_ready.v1"):
    """The model is loaded; who has no part in it may go."""

    group: GroupId
    parts: Annotated[tuple[GroupPart, ...], Meta(max_length=32)]


class GroupIsOver(Wire, frozen=True, kw_only=True, tag="group.is_over.v1"):
    """The group cannot go on: said by its leader, or by a member that leaves."""

    group: GroupId
    reason: _Text


GroupRequest = GroupWanted | GroupIsReady | GroupIsOver


class GroupAnswer(Wire, frozen=True, kw_only=True, tag="group.answer.v1"):
    """What became of a request about a group; ``places`` are the members of the one that was wanted."""

    accepted: bool
    reason: _Text = ""
    group: str = ""
    places: Annotated[tuple[GroupPlace, ...], Meta(max_length=32)] = ()


# --- registry -> nodes: node.<node>.group ------------------------------------------------------------------------


class GroupInvite(Wire, frozen=True, kw_only=True, tag="group.invite.v1"):
    """Take part in a group: open the link for its leader and nobody else."""

    group: GroupId
    model: _Model
    leader: LinkIdentity


class GroupJoins(Wire, frozen=True, kw_only=True, tag="group.joins.v1"):
    """The answer to an invitation: ``place``, or the reason why not."""

    place: GroupPlace | None = None
    reason: _Text = ""


class GroupDismissed(Wire, frozen=True, kw_only=True, tag="group.dismissed.v1"):
    """The group is over, or goes on without you: let go of its memory."""

    group: GroupId
    reason: _Text


GroupOrder = GroupInvite | GroupDismissed

GROUP_MESSAGES: Final[tuple[type[Wire], ...]] = (
    *get_args(GroupRequest),
    GroupAnswer,
    *get_args(GroupOrder),
    GroupJoins,
)
"""All of them, for the AsyncAPI document."""
