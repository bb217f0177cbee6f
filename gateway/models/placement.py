"""Which node shall load which model, and which may give one up: a pure decision of what is wanted and what is there.

What its owner has a node serve counts, and is never given up. A node that takes up a model counts from the order on: it
says so in its reports.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from streams.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from streams.devices.roster import NodeView, Wish
    from streams.models.orders import NodeRoom
    from streams.models.store import StoredModel

_CONTEXTS_TOKENS: Final = 8192
"""Context that is reckoned with for each model: four answers of 2,048 tokens, as a node's settings have it."""
_WORK: Final = 1.2
"""What a model takes beside its file and its context, as a part of the file."""


class Order(Struct, frozen=True, kw_only=True):
    """One thing to tell a node."""

    node: Token
    action: Literal["load", "evict"]
    model: str


def needed_bytes(model: StoredModel) -> int:
    """Say what a node needs free to load a model: its file, room to work in, and the context."""
    return int(model.size_bytes * _WORK) + (model.cache_bytes_per_token or 0) * _CONTEXTS_TOKENS


def orders(
    wishes: Iterable[Wish], nodes: Sequence[NodeView], shunned: Container[tuple[Token, str]] = ()
) -> list[Order]:
    """Compare what is wanted with what live nodes have and do.

    Args:
        wishes: how many replicas of each model there shall be.
        nodes: all nodes.
        shunned: nodes and models of which an order came to nothing lately.
    """
    live = [node for node in nodes if node.is_live and node.status is not None and not node.status.draining]
    promised: dict[Token, int] = {}
    found: list[Order] = []
    for wish in wishes:
        inside = [node for node in live if wish.allows(region_of(node, wish.model))]
        holders = [node for node in inside if _has(node, wish.model)]
        found += _loads(wish, inside, holders, shunned, promised)
        found += _evictions(wish, holders)
        found += _strays(wish, live)
    return found


def unmet(wishes: Iterable[Wish], nodes: Sequence[NodeView], told: Sequence[Order]) -> dict[str, int]:
    """Say of which models how many replicas are missing that no node can be told to load."""
    found: dict[str, int] = {}
    for wish in wishes:
        coming = {order.node for order in told if order.action == "load" and order.model == wish.model}
        regions = [
            region_of(node, wish.model)
            for node in nodes
            if node.node in coming or (node.is_live and _has(node, wish.model))
        ]
        allowed = [region for region in regions if wish.allows(region)]
        inside = sum(max(0, count - allowed.count(region)) for region, count in wish.wanted_in.items())
        missing = max(wish.wanted - len(allowed), inside)
        if missing > 0:
            found[wish.model] = missing
    return found


def region_of(node: NodeView, model: str) -> str | None:
    """Where a node serves a model, or would: what its replica says, or else the node."""
    replica, room = node.replica_of(model), _room(node)
    if replica is not None:
        return replica.region
    return None if room is None else room.region


def _loads(
    wish: Wish,
    inside: Sequence[NodeView],
    holders: Sequence[NodeView],
    shunned: Container[tuple[Token, str]],
    promised: dict[Token, int],
) -> list[Order]:
    model = wish.model
    needed = needed_bytes(wish.desired.file)
    able = [
        node
        for node in inside
        if node not in holders
        and (node.node, model) not in shunned
        and _fits(_room(node), wish.desired.file.size_bytes, needed + promised.get(node.node, 0))
    ]
    able.sort(key=lambda node: (_load(node), -_free(node) + promised.get(node.node, 0), node.node))
    chosen: list[NodeView] = []
    kept_free = 0
    for region, count in wish.wanted_in.items():
        missing = max(0, count - sum(region_of(node, model) == region for node in holders))
        found = [node for node in able if region_of(node, model) == region][:missing]
        kept_free += missing - len(found)
        chosen += found
    anywhere = max(0, wish.wanted - len(holders) - len(chosen) - kept_free)
    chosen += [node for node in able if node not in chosen][:anywhere]
    for node in chosen:
        promised[node.node] = promised.get(node.node, 0) + needed
    return [Order(node=node.node, action="load", model=model) for node in chosen]


def _evictions(wish: Wish, holders: Sequence[NodeView]) -> list[Order]:
    model = wish.model
    placed = [node for node in holders if _is_placed(node, model)]
    placed.sort(key=lambda node: (_busy(node, model), node.node))
    spare = Counter(region_of(node, model) for node in holders)
    spare.subtract(wish.wanted_in)
    surplus: list[NodeView] = []
    for node in placed:
        region = region_of(node, model)
        # What is kept in a region for tasks that must not leave it does not go for the sake of the others.
        if len(surplus) < len(holders) - wish.wanted and (region not in wish.wanted_in or spare[region] > 0):
            surplus.append(node)
            spare[region] -= 1
    return [Order(node=node.node, action="evict", model=model) for node in surplus]


def _strays(wish: Wish, live: Sequence[NodeView]) -> list[Order]:
    """What was placed before anybody said that it must not be there."""
    return [
        Order(node=node.node, action="evict", model=wish.model)
        for node in live
        if _is_placed(node, wish.model) and not wish.allows(region_of(node, wish.model))
    ]


def _room(node: NodeView) -> NodeRoom | None:
    return None if node.status is None else node.status.room


def _has(node: NodeView, model: str) -> bool:
    room = _room(node)
    return node.replica_of(model) is not None or (room is not None and model in (*room.placed, *room.loading))


def _is_placed(node: NodeView, model: str) -> bool:
    room = _room(node)
    return room is not None and model in (*room.placed, *room.loading)


def _fits(room: NodeRoom | None, file_bytes: int, memory_bytes: int) -> bool:
    if room is None or not room.takes_models:
        return False
    fits_disk = room.disk_bytes is None or file_bytes <= room.disk_bytes
    return fits_disk and (room.free_memory_bytes is None or memory_bytes <= room.free_memory_bytes)


def _free(node: NodeView) -> int:
    room = _room(node)
    return 0 if room is None or room.free_memory_bytes is None else room.free_memory_bytes


def _load(node: NodeView) -> float:
    """Which part of its slots is taken."""
    replicas = () if node.status is None else node.status.replicas
    slots = sum(replica.slots for replica in replicas)
    return sum(replica.busy for replica in replicas) / slots if slots else 0.0


def _busy(node: NodeView, model: str) -> int:
    replicas = () if node.status is None else node.status.replicas
    return sum(replica.busy for replica in replicas if replica.model == model)
