"""A node that leads: it keeps one model served by a group, and forms another group when that one has lost a member."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from mesh.config.address import parse_address
from mesh.errors import BusError, SettingsError
from mesh.identity.link_proof import is_bound
from nodes.errors import EngineError, EngineUnavailable, NodeError, ShardLinkRefused
from nodes.models.file import find_model
from nodes.pauses import LONGEST_PAUSE_S, pause_s
from nodes.shards.first_of import first_of
from nodes.shards.group_engine import GroupEngine
from nodes.shards.leader_link import LeaderLink
from nodes.shards.split import Capacity, Split, needed_elsewhere, split_model, weights_of
from streams import subjects
from streams.codec import decode, encode
from streams.errors import StreamsError
from streams.groups.messages import (
    GroupAnswer,
    GroupDismissed,
    GroupInvite,
    GroupIsOver,
    GroupIsReady,
    GroupOrder,
    GroupWanted,
)

if TYPE_CHECKING:
    from mesh.bus.direct_client import Delivery
    from mesh.bus.link import Link
    from nodes.engine import EngineSpec, Loading
    from nodes.models.serving import Serving
    from nodes.shards.link_self import LinkSelf
    from nodes.shards.split import Weights
    from streams.groups.messages import GroupPlace, GroupRequest
    from streams.tokens import Token

log = logging.getLogger(__name__)

_FORMING: Final = timedelta(seconds=90)
"""How long members may take to start what they need, and the registry to tell of it."""
_SAYING: Final = timedelta(seconds=5)
_NOTICE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 60.0
"""Between groups that come to nothing: each is written down for ever, and has members start what they need."""
_LONGEST_REASON: Final = 512


class Led(NamedTuple):
    """What is served by a group, and how much of it this node holds itself."""

    spec: EngineSpec
    own_bytes: int


class _Member(NamedTuple):
    capacity: Capacity
    link: LeaderLink


class Leading:
    """Leads one group after the other. ``run`` does it."""

    def __init__(self, link: Link, node: Token, led: Led, own: LinkSelf, serving: Serving) -> None:
        """Serve ``led`` as ``node``, by ``serving``."""
        self._link = link
        self._node = node
        self._led = led
        self._own = own
        self._serving = serving
        self._group = ""
        self._is_noted = False
        """Whether the last try was written down as a group."""
        self._dismissed: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @property
    def group(self) -> str:
        """The group that this node leads now, or led last; empty before the first."""
        return self._group

    async def run(self) -> None:
        """Form a group, serve by it until it breaks, and begin again. Never returns; cancel it to leave the group.

        Raises:
            EngineUnavailable: if the model is none that can be split.
        """
        await self._link.listen(subjects.node_inbox(self._node, "group"), self._on_order)
        model = await asyncio.to_thread(find_model, self._led.spec.model, self._led.spec.model_id)
        context_tokens = min(
            self._led.spec.context_tokens, model.header.context_tokens or self._led.spec.context_tokens
        )
        weights = weights_of(model, context_tokens)
        tries = wasted = 0
        while True:
            try:
                await self._lead_once(model.model_id, weights)
                tries = wasted = 0
            except (NodeError, BusError, StreamsError) as error:
                tries += 1
                # The first of them, and then ever more rarely: members may be long in coming.
                level = logging.WARNING if tries.bit_count() == 1 else logging.DEBUG
                log.log(level, "no group for %s yet (tried %d times): %s", model.model_id, tries, error)
                wasted += self._is_noted
                longest_s = _LONGEST_PAUSE_S if self._is_noted else LONGEST_PAUSE_S
                await asyncio.sleep(pause_s(wasted if self._is_noted else tries, longest_s=longest_s))

    async def _lead_once(self, model: str, weights: Weights) -> None:
        """Form one group, serve by it, and return when it has broken."""
        reason = "its leader stops"
        async with AsyncExitStack() as stack:
            places = await self._propose(model, weights)
            try:
                members = await self._call(places, stack)
                leader = Capacity(node=self._node, memory_bytes=self._led.own_bytes)
                split = split_model(weights, leader, [member.capacity for member in members.values()])
                links = [members[part.node].link for part in split.parts[1:]]
                reason = await self._serve(split, links)
            except NodeError as error:
                reason = str(error)
                raise
            finally:
                await self._say_over(reason)
        log.warning("group %s is over: %s", self._group, reason)

    async def _propose(self, model: str, weights: Weights) -> tuple[GroupPlace, ...]:
        self._dismissed = asyncio.get_running_loop().create_future()
        self._is_noted = False
        wanted = GroupWanted(
            model=model,
            memory_bytes=needed_elsewhere(weights, self._led.own_bytes),
            identity=self._own.identity,
            replaces=self._group or None,
        )
        answer = await self._ask(wanted, _FORMING)
        self._is_noted = bool(answer.group)
        if not answer.accepted:
            raise EngineUnavailable(answer.reason)
        self._group = answer.group
        return answer.places

    async def _call(self, places: tuple[GroupPlace, ...], stack: AsyncExitStack) -> dict[str, _Member]:
        """Open and measure the link to each member; one that cannot be had is left out."""
        found: dict[str, _Member] = {}
        for place in places:
            node = place.identity.node
            try:
                if not is_bound(place.identity):
                    raise ShardLinkRefused("its certificate is not signed by its device's key")
                link = LeaderLink(parse_address(place.address), self._own.certificate, place.identity.certificate)
                stack.push_async_callback(link.close)
                speed = await link.open()
            except (ShardLinkRefused, SettingsError) as error:
                log.warning("group %s goes on without %s: %s", self._group, node, error)
                continue
            capacity = Capacity(
                node=node, memory_bytes=place.memory_bytes, rtt_ms=speed.rtt_ms, mib_per_s=speed.mib_per_s
            )
            found[node] = _Member(capacity, link)
        return found

    async def _serve(self, split: Split, links: list[LeaderLink]) -> str:
        """Load the model over the members and serve it; returns why it is over."""
        engine = GroupEngine(self._led.spec, split.offload, links, self._on_loading)
        ends = [self._dismissed, *(_lost(part.node, link) for part, link in zip(split.parts[1:], links, strict=True))]
        watching = asyncio.ensure_future(first_of(*ends))
        breaking = asyncio.ensure_future(engine.broken())
        loading = asyncio.ensure_future(self._serving.start(engine))
        try:
            await asyncio.wait((loading, watching), return_when=asyncio.FIRST_COMPLETED)
            if not loading.done():
                await engine.stop()
            replica = await loading
            try:
                answer = await self._ask(GroupIsReady(group=self._group, parts=split.parts), _SAYING)
                if not answer.accepted:
                    return answer.reason
                log.info("group %s serves %s: %s", self._group, replica.model, _in_words(split))
                await asyncio.wait((watching, breaking), return_when=asyncio.FIRST_COMPLETED)
            finally:
                await self._serving.evict(replica.model)
            # That a member is gone is seen a moment later than what it has done to the engine.
            await asyncio.wait((watching,), timeout=_NOTICE_S)
            return watching.result() if watching.done() else breaking.result()
        except EngineError:
            if watching.done():
                return watching.result()
            raise
        finally:
            for task in (watching, breaking, loading):
                task.cancel()
            await asyncio.gather(watching, breaking, loading, return_exceptions=True)

    async def _say_over(self, reason: str) -> None:
        with contextlib.suppress(BusError, StreamsError):
            await self._ask(GroupIsOver(group=self._group, reason=reason[:_LONGEST_REASON]), _SAYING)

    async def _ask(self, request: GroupRequest, patience: timedelta) -> GroupAnswer:
        answer = await self._link.request(subjects.node_api(self._node, "group"), encode(request), timeout=patience)
        return decode(answer.data, GroupAnswer)

    def _on_order(self, delivery: Delivery) -> None:
        try:
            order = decode(delivery.data, cast("type[GroupInvite | GroupDismissed]", GroupOrder))
        except StreamsError:
            # Whoever lends memory hears it too, and says so.
            return
        if isinstance(order, GroupDismissed) and order.group == self._group and not self._dismissed.done():
            self._dismissed.set_result(order.reason)

    def _on_loading(self, loading: Loading) -> None:
        log.debug("group %s: %s", self._group, loading.stage)


async def _lost(node: str, link: LeaderLink) -> str:
    return f"{node} is lost: {await link.lost()}"


def _in_words(split: Split) -> str:
    return ", ".join(f"{part.node} holds {part.layers} layers" for part in split.parts)
