"""Searching by meaning and by words at once: both orders of the passages, joined by rank."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.retrieval.fusion import Order, fuse

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from gateway.retrieval.index.index import Index, Match, Origin
    from streams.stores.messages import Ranking

DEPTH: Final = 100
"""Passages that each way of searching may bring, before they are joined."""

MEANING_WEIGHT: Final = 1.5
"""How much the order by meaning counts, where that by words counts 1. Chosen on the questions for tuning."""


class Search(NamedTuple):
    """One shelf to search. ``among``: only passages of these; None: all."""

    shelf: str
    model: str
    among: Collection[Origin] | None = None


class Scored(NamedTuple):
    """A passage that was found on a shelf; the score goes from 0 to 1 and tells ranks, not likeness."""

    shelf: str
    match: Match
    score: float


class _Spot(NamedTuple):
    shelf: str
    origin: Origin
    number: int


async def search(
    index: Index,
    searches: Sequence[Search],
    vectors: Mapping[str, bytes],
    text: str,
    *,
    ranking: Ranking = "auto",
    limit: int = DEPTH,
) -> tuple[Scored, ...]:
    """Return the passages that say most about ``text``, the best first.

    Args:
        index: where they are.
        searches: the shelves to look at, as if they were one; by each model once a vector is compared.
        vectors: of ``text``, by each model; not asked for where only words count.
        text: what is looked for.
        ranking: by which of both; ``auto`` is both.
        limit: how many at most.

    Raises:
        IndexUnavailable: if the index cannot be read.
        WrongVectors: if a vector does not fit to those of its shelf.
    """
    found: dict[_Spot, Match] = {}
    orders: list[Order[_Spot]] = []
    models = list(dict.fromkeys(each.model for each in searches)) if ranking != "lexical" else []
    for model in models:
        lists = [index.near(each.shelf, vectors[model], DEPTH, each.among) for each in searches if each.model == model]
        shelves = [each.shelf for each in searches if each.model == model]
        orders.append(_order(found, shelves, await asyncio.gather(*lists), MEANING_WEIGHT / len(models)))
    if ranking != "dense":
        lists = [index.worded(each.shelf, text, DEPTH, each.among) for each in searches]
        orders.append(_order(found, [each.shelf for each in searches], await asyncio.gather(*lists), 1.0))
    return tuple(Scored(spot.shelf, found[spot], score) for spot, score in fuse(orders)[:limit])


def _order(
    found: dict[_Spot, Match], shelves: Sequence[str], lists: Sequence[tuple[Match, ...]], weight: float
) -> Order[_Spot]:
    """Make one order of what several shelves have, and note it in ``found``."""
    here = {
        _Spot(shelf, match.origin, match.number): match
        for shelf, matches in zip(shelves, lists, strict=True)
        for match in matches
    }
    found.update(here)
    ranked = sorted(here, key=lambda spot: (-here[spot].score, spot.origin, spot.number, spot.shelf))
    return Order(ranked[:DEPTH], weight)
