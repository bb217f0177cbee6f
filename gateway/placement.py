"""Which node shall load which model, and which may give one up: a pure decision of what is wanted and what is there.

What its owner has a node serve counts, and is never given up. A node that takes up a model counts from the order on: it
says so in its reports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from streams.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from streams.model_orders import NodeRoom
    from streams.model_store import StoredModel
    from streams.roster import NodeView, Wish

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
        holders = [node for node in live if _has(node, wish.model)]
        if len(holders) < wish.wanted:
            found += _loads(wish, live, holders, shunned, promised)
        elif len(holders) > wish.wanted:
            found += _evictions(wish, holders)
    return found


def unmet(wishes: Iterable[Wish], nodes: Sequence[NodeView], told: Sequence[Order]) -> dict[str, int]:
    """Say of which models how many replicas are missing that no node can be told to load."""
    found: dict[str, int] = {}
    for wish in wishes:
        holders = sum(node.is_live and _has(node, wish.model) for node in nodes)
        coming = sum(order.action == "load" and order.model == wish.model for order in told)
        if wish.wanted > holders + coming:
            found[wish.model] = wish.wanted - holders - coming
    return found


def _loads(
    wish: Wish,
    live: Sequence[NodeView],
    holders: Sequence[NodeView],
    shunned: Container[tuple[Token, str]],
    promised: dict[Token, int],
) -> list[Order]:
    needed = needed_bytes(wish.desired.file)
    able = [
        node
        for node in live
        if node not in holders
        and (node.node, wish.model) not in shunned
        and _fits(_room(node), wish.desired.file.size_bytes, needed + promised.get(node.node, 0))
    ]
    able.sort(key=lambda node: (_load(node), -_free(node) + promised.get(node.node, 0), node.node))
    chosen = able[: wish.wanted - len(holders)]
    for node in chosen:
        promised[node.node] = promised.get(node.node, 0) + needed
    return [Order(node=node.node, action="load", model=wish.model) for node in chosen]


def _evictions(wish: Wish, holders: Sequence[NodeView]) -> list[Order]:
    placed = [node for node in holders if _is_placed(node, wish.model)]
    placed.sort(key=lambda node: (_busy(node, wish.model), node.node))
    surplus = placed[: len(holders) - wish.wanted]
    return [Order(node=node.node, action="evict", model=wish.model) for node in surplus]


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
