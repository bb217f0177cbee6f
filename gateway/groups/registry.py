"""The registry of shard groups: what nodes ask for and say of groups becomes a fact here, after a check.

Registries share the work by a queue group. A group ends when a node is lost without which it cannot go on: whichever
registry sees it writes so, and all who follow the log tell the members.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, cast

from gateway.groups.forming import Forming
from gateway.requests import Desk
from mesh.errors import BusError
from mesh.history.group_log import GroupLog
from mesh.identity.device_log import DeviceLog
from streams import subjects
from streams.clock import now_ms
from streams.codec import encode
from streams.groups.events import GroupDissolved, GroupReady
from streams.groups.fold import GroupState
from streams.groups.messages import (
    GroupAnswer,
    GroupDismissed,
    GroupIsOver,
    GroupIsReady,
    GroupRequest,
    GroupWanted,
)
from streams.tokens import Token

if TYPE_CHECKING:
    from gateway.roster.feed import RosterFeed
    from mesh.bus.direct_client import Delivery
    from mesh.bus.service_bus import Bus
    from mesh.history.snapshots import SnapshotStore
    from streams.groups.fold import Group

log = logging.getLogger(__name__)

_QUEUE: Final = "registries"


class GroupRegistry:
    """Serves requests about groups, and ends those that have lost a node."""

    def __init__(self, bus: Bus, feed: RosterFeed, snapshots: SnapshotStore | None = None) -> None:
        """Prepare; start the roster feed first."""
        self.log = GroupLog(bus.core, snapshots)
        self._bus = bus
        self._feed = feed
        self._devices = DeviceLog(bus.core)
        self._forming = Forming(bus.edge, feed, self._devices, self.log)
        self._desk = Desk(bus.edge)
        self._unsubscribe = feed.subscribe(self._on_node)

    async def start(self) -> None:
        """Begin to serve; groups whose nodes were lost meanwhile are dissolved.

        Raises:
            BusError: if the logs cannot be read.
        """
        await self._devices.start()
        await self.log.start()
        self.log.on_change = self._on_group
        # The type of a union is none to a type checker.
        kind = cast("type[Any]", GroupRequest)
        where = subjects.node_api_all("group")
        await self._desk.serve(where, kind, self._serve, queue=_QUEUE, inbox_of=subjects.inbox_of_node_call)
        for group in self.log.groups.all():
            for node in group.members if group.is_open else ():
                self._on_node(node)

    async def stop(self) -> None:
        """Serve no more."""
        self._unsubscribe()
        self.log.on_change = None
        await self._desk.stop()
        await self.log.stop()
        await self._devices.stop()

    async def _serve(self, delivery: Delivery, request: GroupWanted | GroupIsReady | GroupIsOver) -> GroupAnswer:
        caller = subjects.parse_call(delivery.subject).caller
        await self.log.catch_up()
        match request:
            case GroupWanted():
                for group in self.log.groups.all():
                    if group.is_open and (group.leader, group.model) == (caller, request.model):
                        await self._dissolve(group, by=caller, reason="its leader has begun anew")
                return await self._forming.form(caller, request)
            case GroupIsReady():
                return await self._note_ready(caller, request)
            case GroupIsOver():
                return await self._note_end(caller, request)

    async def _note_ready(self, caller: Token, said: GroupIsReady) -> GroupAnswer:
        group = self.log.groups.group(Token(said.group))
        if group is None or group.leader != caller or group.state is not GroupState.FORMING:
            return GroupAnswer(accepted=False, reason=f"{caller} forms no group {said.group}", group=said.group)
        if not {part.node for part in said.parts} <= set(group.members):
            return GroupAnswer(
                accepted=False, reason="some of the parts are held by nobody who joined", group=said.group
            )
        await self.log.append(group.group, GroupReady(at_ms=now_ms(), parts=said.parts))
        for node in set(group.members) - {part.node for part in said.parts}:
            self._dismiss(node, group.group, "the group goes on without it")
        return GroupAnswer(accepted=True, group=said.group)

    async def _note_end(self, caller: Token, said: GroupIsOver) -> GroupAnswer:
        group = self.log.groups.group(Token(said.group))
        if group is None or caller not in group.members:
            return GroupAnswer(accepted=False, reason=f"{caller} is not in a group {said.group}", group=said.group)
        await self._dissolve(group, by=caller, reason=said.reason)
        return GroupAnswer(accepted=True, group=said.group)

    async def _dissolve(self, group: Group, *, by: str, reason: str) -> None:
        if group.is_open:
            await self.log.append(group.group, GroupDissolved(at_ms=now_ms(), by=by, reason=reason))

    def _on_group(self, group: Group) -> None:
        """Tell everybody of an end, whoever wrote it: a registry, an operator, a registry that has died since."""
        if not group.is_open:
            for node in {group.leader, *(each.node for each in group.joined)}:
                self._dismiss(node, group.group, group.reason)

    def _dismiss(self, node: str, group: Token, reason: str) -> None:
        self._bus.edge.send(
            subjects.node_inbox(Token(node), "group"), encode(GroupDismissed(group=group, reason=reason))
        )

    def _on_node(self, name: str) -> None:
        view = self._feed.roster.node(Token(name), now_s=self._feed.now_s())
        if view is not None and view.is_lost and self.log.groups.open_with(name):
            self._desk.spawn(self._end_those_with(name))

    async def _end_those_with(self, node: str) -> None:
        for group in self.log.groups.open_with(node):
            try:
                await self._dissolve(group, by="registry", reason=f"{node} is lost")
            except BusError as error:
                log.warning("the end of group %s could not be noted: %s", group.group, error)
