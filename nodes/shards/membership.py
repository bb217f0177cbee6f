"""A node that lends memory: it joins one group at a time when it is asked, and lets go when that is over."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from mesh.errors import BusError
from mesh.identity.link_proof import is_bound
from nodes.errors import NodeError, ShardLinkRefused
from nodes.shards.first_of import first_of
from nodes.shards.member_link import MemberLink
from nodes.shards.rpc_server import RpcServer
from streams import subjects
from streams.codec import decode, encode
from streams.errors import StreamsError
from streams.groups.messages import (
    GroupDismissed,
    GroupInvite,
    GroupIsOver,
    GroupJoins,
    GroupOrder,
    GroupPlace,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from mesh.bus.direct_client import Delivery
    from mesh.bus.link import Link
    from mesh.config.address import Address
    from nodes.shards.link_self import LinkSelf
    from streams.tokens import Token

log = logging.getLogger(__name__)

_LEAVE: Final = timedelta(seconds=2)
_LONGEST_REASON: Final = 512


class Lent(NamedTuple):
    """What this node lends, and where its leader calls."""

    listen: Address
    memory_bytes: int
    threads: int


class _Stay(NamedTuple):
    """The group that this node is in."""

    group: str
    staying: asyncio.Task[None]
    dismissed: asyncio.Future[str]


class Membership:
    """Joins and leaves."""

    def __init__(self, link: Link, node: Token, lent: Lent, own: LinkSelf, on_change: Callable[[], None]) -> None:
        """Lend ``lent`` as ``node``, once ``listen`` was called; ``on_change`` hears when that begins or ends."""
        self._link = link
        self._node = node
        self._lent = lent
        self._own = own
        self._on_change = on_change
        self._stay: _Stay | None = None

    @property
    def lends_bytes(self) -> int:
        """What a group may have of this node now: nothing, while one has it."""
        return self._lent.memory_bytes if self._stay is None else 0

    @property
    def group(self) -> str | None:
        """The group that this node is in."""
        return None if self._stay is None else self._stay.group

    async def listen(self) -> None:
        """Begin to hear invitations."""
        await self._link.listen(subjects.node_inbox(self._node, "group"), self._on_order)

    async def leave(self) -> None:
        """Leave the group that this node is in, if any, and say so."""
        stay = self._stay
        if stay is None:
            return
        words = encode(GroupIsOver(group=stay.group, reason=f"{self._node} leaves"))
        with contextlib.suppress(BusError):
            await self._link.request(subjects.node_api(self._node, "group"), words, timeout=_LEAVE)
        _dismiss(stay, "this node leaves")
        await asyncio.wait((stay.staying,))

    def _on_order(self, delivery: Delivery) -> None:
        try:
            order = decode(delivery.data, cast("type[GroupInvite | GroupDismissed]", GroupOrder))
        except StreamsError as error:
            log.warning("an order about a group was ignored: %s", error)
            return
        stay = self._stay
        match order:
            case GroupInvite() if stay is not None:
                self._answer(delivery, GroupJoins(reason=f"it is in group {stay.group}"))
            case GroupInvite():
                dismissed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
                staying = asyncio.create_task(self._take_part(order, delivery, dismissed), name="group-member")
                self._stay = _Stay(order.group, staying, dismissed)
                self._on_change()
            case GroupDismissed() if stay is not None and stay.group == order.group:
                _dismiss(stay, order.reason)
            case GroupDismissed():
                # Another group's leader, or a group that is over already.
                pass

    async def _take_part(self, invite: GroupInvite, delivery: Delivery, dismissed: asyncio.Future[str]) -> None:
        try:
            async with AsyncExitStack() as stack:
                reason = await self._stay_in(invite, delivery, dismissed, stack)
            log.info("left group %s: %s", invite.group, reason)
        except NodeError as error:
            log.warning("cannot join group %s: %s", invite.group, error)
            self._answer(delivery, GroupJoins(reason=str(error)[:_LONGEST_REASON]))
        finally:
            self._stay = None
            self._on_change()

    async def _stay_in(
        self, invite: GroupInvite, delivery: Delivery, dismissed: asyncio.Future[str], stack: AsyncExitStack
    ) -> str:
        """Open the server and the link, and return why it is over."""
        if not is_bound(invite.leader):
            raise ShardLinkRefused("the leader's certificate is not signed by its device's key")
        lent = self._lent
        server = await RpcServer.start(threads=lent.threads, lent_bytes=lent.memory_bytes)
        stack.push_async_callback(server.stop)
        door = MemberLink(server, self._own.certificate, invite.leader.certificate)
        stack.push_async_callback(door.close)
        address = await door.open(lent.listen)
        place = GroupPlace(address=str(address), memory_bytes=lent.memory_bytes, identity=self._own.identity)
        self._answer(delivery, GroupJoins(place=place))
        log.info("joined group %s, which %s leads, for %s", invite.group, invite.leader.node, invite.model)
        return await first_of(door.abandoned(), server.ended(), dismissed)

    def _answer(self, delivery: Delivery, joins: GroupJoins) -> None:
        self._link.reply_to(delivery, encode(joins))


def _dismiss(stay: _Stay, reason: str) -> None:
    if not stay.dismissed.done():
        stay.dismissed.set_result(reason)
