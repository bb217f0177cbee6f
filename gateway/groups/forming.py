"""Bringing a shard group together: who lends memory is asked, and who joins is noted."""

from __future__ import annotations

import asyncio
import logging
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from mesh.errors import BusError
from mesh.identity.link_proof import is_bound
from streams import subjects
from streams.clock import now_ms
from streams.codec import decode, encode
from streams.errors import StreamsError
from streams.groups.events import GroupDissolved, GroupJoined, GroupProposed
from streams.groups.messages import GroupAnswer, GroupInvite, GroupJoins
from streams.tokens import Token

if TYPE_CHECKING:
    from gateway.roster.feed import RosterFeed
    from mesh.bus.link import Link
    from mesh.history.group_log import GroupLog
    from mesh.identity.device_log import DeviceLog
    from streams.devices.link_identity import LinkIdentity
    from streams.devices.roster import NodeView
    from streams.groups.messages import GroupPlace, GroupWanted

log = logging.getLogger(__name__)

MOST_MEMBERS: Final = 15
"""llama.cpp has room for 16 servers."""

_SPARE: Final = 1
"""So many are asked beyond those that suffice, to leave the leader a choice of links."""

_JOINING: Final = timedelta(seconds=60)


class Forming:
    """Serves leaders who want a group."""

    def __init__(self, edge: Link, feed: RosterFeed, devices: DeviceLog, groups: GroupLog) -> None:
        """Ask nodes of the roster that ``feed`` keeps; ``devices`` says whose keys count."""
        self._edge = edge
        self._feed = feed
        self._devices = devices
        self._log = groups

    async def form(self, leader: Token, wanted: GroupWanted) -> GroupAnswer:
        """Propose a group, ask members, and say where they wait.

        Raises:
            BusError: if it cannot be written.
        """
        if not self._is_who_it_says(leader, wanted.identity):
            return GroupAnswer(accepted=False, reason="the certificate is not signed by this device's key")
        asked = self._candidates(leader, wanted.memory_bytes)
        lent = sum(_lent_by(view) for view in asked)
        if lent < wanted.memory_bytes:
            return GroupAnswer(accepted=False, reason=_too_little(len(asked), lent, wanted.memory_bytes))
        group = Token(f"g{secrets.token_hex(6)}")
        await self._log.append(group, _proposal(leader, wanted))
        invite = encode(GroupInvite(group=group, model=wanted.model, leader=wanted.identity))
        answers = await asyncio.gather(*(self._ask(group, view.node, invite) for view in asked))
        places = tuple(place for place in answers if place is not None)
        joined = sum(place.memory_bytes for place in places)
        if joined >= wanted.memory_bytes:
            return GroupAnswer(accepted=True, group=group, places=places)
        reason = _too_little(len(places), joined, wanted.memory_bytes)
        await self._log.append(group, GroupDissolved(at_ms=now_ms(), by="registry", reason=reason))
        return GroupAnswer(accepted=False, reason=reason, group=group)

    def _candidates(self, leader: Token, needed_bytes: int) -> list[NodeView]:
        """Those who lend most, until that suffices, and a spare one."""
        nodes = self._feed.roster.nodes(now_s=self._feed.now_s())
        lending = [view for view in nodes if view.is_live and view.node != leader and _lent_by(view)]
        lending.sort(key=_lent_by, reverse=True)
        chosen: list[NodeView] = []
        spare = _SPARE
        for view in lending[:MOST_MEMBERS]:
            if sum(map(_lent_by, chosen)) >= needed_bytes:
                if not spare:
                    break
                spare -= 1
            chosen.append(view)
        return chosen

    async def _ask(self, group: Token, node: Token, invite: bytes) -> GroupPlace | None:
        try:
            answer = await self._edge.request(subjects.node_inbox(node, "group"), invite, timeout=_JOINING)
            joins = decode(answer.data, GroupJoins)
        except (BusError, StreamsError) as error:
            log.warning("%s was asked into group %s: %s", node, group, error)
            return None
        place = joins.place
        if place is None:
            log.info("%s does not join group %s: %s", node, group, joins.reason)
            return None
        if not self._is_who_it_says(node, place.identity):
            log.warning("%s shows group %s a certificate that its device's key has not signed", node, group)
            return None
        joined = GroupJoined(
            at_ms=now_ms(),
            node=node,
            address=place.address,
            memory_bytes=place.memory_bytes,
            fingerprint=place.identity.fingerprint,
        )
        await self._log.append(group, joined)
        return place

    def _is_who_it_says(self, node: Token, identity: LinkIdentity) -> bool:
        device = self._devices.devices.device(node)
        is_its_own = device is not None and device.did == identity.did and identity.node == node
        return is_its_own and is_bound(identity)


def _proposal(leader: Token, wanted: GroupWanted) -> GroupProposed:
    return GroupProposed(
        at_ms=now_ms(),
        leader=leader,
        model=wanted.model,
        memory_bytes=wanted.memory_bytes,
        fingerprint=wanted.identity.fingerprint,
        replaces=wanted.replaces,
    )


def _lent_by(view: NodeView) -> int:
    return 0 if view.status is None else view.status.lends_bytes


def _too_little(nodes: int, lent_bytes: int, needed_bytes: int) -> str:
    return f"{nodes} nodes lend {lent_bytes >> 20} MiB together, and {-(-needed_bytes >> 20)} MiB are needed"
