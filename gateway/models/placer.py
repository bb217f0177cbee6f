"""Has nodes load and give up models, so that there is what is wanted. Of all dispatchers the first by name does it.

What is wanted are events in MODELS: what an operator decided, and within that what demand makes of it. What is there
the nodes say themselves. So whoever comes next goes on; two that both think they are the one do no harm, since a node
that is told twice does it once, and a replica too many is given up again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from gateway.models.demand import Pace, Sight
from gateway.models.placement import orders, region_of, unmet
from gateway.models.regional_demand import RegionalDemand, Sights
from mesh.errors import BusError
from streams import subjects
from streams.clock import now_ms
from streams.codec import decode, encode
from streams.errors import StreamsError
from streams.events import ModelScaled
from streams.models.orders import ModelOrder, ModelOrdered
from streams.subjects import MESH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.models.placement import Order
    from gateway.roster.backlog_feed import BacklogFeed, Totals
    from gateway.roster.feed import RosterFeed
    from mesh.bus.service_bus import Bus
    from streams.devices.roster import NodeView, Wish
    from streams.tokens import Token

log = logging.getLogger(__name__)

_LOOK_S: Final = 1.0
_ANSWER: Final = timedelta(seconds=2)
_SHUN_S: Final = 60.0
"""How long a node is not asked again for a model that it could not load."""
_UNHEARD_S: Final = 5.0
"""The same where it has not answered at all: it or the bus may have been held up for a moment."""


class ModelPlacer:
    """Looks about once a second."""

    def __init__(self, bus: Bus, feed: RosterFeed, backlog: BacklogFeed, pace: Pace | None = None) -> None:
        """Prepare; ``feed`` and ``backlog`` are started by whoever made them."""
        self._bus = bus
        self._feed = feed
        self._backlog = backlog
        self._pace = pace or Pace()
        self._demands: dict[str, RegionalDemand] = {}
        self._shunned: dict[tuple[Token, str], float] = {}
        self._warned: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look."""
        await self._backlog.start()
        self._task = asyncio.create_task(self._run(), name="model-placer")

    async def stop(self) -> None:
        """Look no more; what was ordered goes on."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._backlog.stop()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            if not self._is_first:
                self._demands.clear()
                continue
            try:
                await self._look()
            except BusError as error:
                log.warning("models could not be placed now: %s", error)
            except Exception:
                # One model that cannot be handled must not keep all others from being placed.
                log.exception("models could not be placed now")

    @property
    def _is_first(self) -> bool:
        return min(self._backlog.backlogs.dispatchers, default="") == self._bus.options.name

    async def _look(self) -> None:
        now_s = time.monotonic()
        nodes = self._feed.roster.nodes(now_s=self._feed.now_s())
        for wish in self._feed.roster.wishes():
            if wish.most > wish.least:
                await self._follow_demand(wish, nodes, now_s)
        self._shun_what_failed(nodes, now_s)
        wishes = self._feed.roster.wishes()
        told = orders(wishes, nodes, self._shunned)
        self._warn_of(unmet(wishes, nodes, told), now_s)
        for order in told:
            await self._tell(order, now_s)

    def _warn_of(self, missing: Mapping[str, int], now_s: float) -> None:
        self._warned = {model: at_s for model, at_s in self._warned.items() if model in missing}
        for model, count in missing.items():
            if now_s - self._warned.get(model, float("-inf")) >= _SHUN_S:
                self._warned[model] = now_s
                log.warning("%s: %d replicas are missing, and no node has room or is willing", model, count)

    async def _follow_demand(self, wish: Wish, nodes: Sequence[NodeView], now_s: float) -> None:
        demand = self._demands.setdefault(wish.model, RegionalDemand(self._pace, now_s))
        change = demand.look(wish, sights_of(wish.model, nodes, self._backlog.backlogs.totals), now_s)
        if change is not None:
            log.info("%s: %d replicas instead of %d: %s", wish.model, change.replicas, wish.wanted, change.reason)
            event = ModelScaled(
                at_ms=now_ms(),
                model=wish.model,
                replicas=change.replicas,
                reason=change.reason,
                regions=change.regions,
            )
            sequence = await self._bus.core.append(subjects.model(MESH, wish.model), encode(event))
            await self._feed.models.reach(sequence)

    def _shun_what_failed(self, nodes: Sequence[NodeView], now_s: float) -> None:
        for key in [key for key, until_s in self._shunned.items() if until_s <= now_s]:
            del self._shunned[key]
        # It is told again when its time is over, and then either does it or says anew that it cannot.
        for node in nodes:
            room = node.status.room if node.status is not None else None
            for failed in room.failed if room is not None else ():
                self._shunned.setdefault((node.node, failed.model), now_s + _SHUN_S)

    async def _tell(self, order: Order, now_s: float) -> None:
        words, shun_s = encode(ModelOrder(action=order.action, model=order.model)), _SHUN_S
        try:
            answer = await self._bus.edge.request(subjects.node_inbox(order.node, "orders"), words, timeout=_ANSWER)
            ordered = decode(answer.data, ModelOrdered)
        except (BusError, StreamsError) as error:
            ordered, shun_s = ModelOrdered(accepted=False, reason=str(error)), _UNHEARD_S
        if ordered.accepted:
            log.info("node %s was told to %s %s", order.node, order.action, order.model)
            return
        log.warning("node %s does not %s %s: %s", order.node, order.action, order.model, ordered.reason)
        self._shunned[order.node, order.model] = now_s + shun_s


def sight_of(model: str, nodes: Sequence[NodeView], totals: Totals) -> Sight:
    """Add up what is seen of a model, wherever it is."""
    return _sight(model, nodes, _waiting(model, totals))


def sights_of(model: str, nodes: Sequence[NodeView], totals: Totals) -> Sights:
    """Add up what is seen of a model: all together, and in each region where there are nodes.

    Who waits for a region of which no node is heard is nobody's demand: a replica brought for it would have to be
    elsewhere.
    """
    bound = {region: count for (name, region), count in totals.waiting_inside.items() if name == model}
    there: dict[str, list[NodeView]] = {}
    for node in nodes:
        if node.is_live and (region := region_of(node, model)) is not None:
            there.setdefault(region, []).append(node)
    return Sights(
        anywhere=_sight(model, nodes, _waiting(model, totals) - sum(bound.values())),
        inside={region: _sight(model, own, bound.get(region, 0)) for region, own in there.items()},
    )


def _waiting(model: str, totals: Totals) -> int:
    return sum(count for (name, _), count in totals.waiting_in.items() if name == model)


def _sight(model: str, nodes: Sequence[NodeView], waiting: int) -> Sight:
    serving = [node for node in nodes if node.is_live and node.replica_of(model) is not None]
    loads = [load for node in serving if node.status for load in node.status.replicas if load.model == model]
    return Sight(
        replicas=len(serving),
        slots=sum(load.slots for load in loads),
        busy=sum(load.busy for load in loads),
        waiting=waiting,
    )
