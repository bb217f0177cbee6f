"""How many replicas of a model the demand asks for, and how many of them in regions that tasks must not leave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import Struct

from gateway.models.demand import Demand, Pace, Sight
from streams.models.events import InRegion

if TYPE_CHECKING:
    from streams.devices.roster import Wish

_NOTHING: Final = Sight(replicas=0, slots=0, busy=0, waiting=0)


class _Numbers(NamedTuple):
    """What ``Demand`` calls bounds."""

    least: int
    most: int
    wanted: int


class Sights(Struct, frozen=True, kw_only=True):
    """What is seen of one model at one moment."""

    anywhere: Sight
    """Of all its replicas; who waits here may have it from any of them."""
    inside: Mapping[str, Sight] = {}
    """By region that somebody waits for: its replicas, and who may not have it from others."""


class Scale(Struct, frozen=True, kw_only=True):
    """How many replicas there shall be, and so many of them at least in each region."""

    replicas: int
    regions: tuple[InRegion, ...]
    reason: str


class RegionalDemand:
    """Watches one model. Times are on a steady clock, in seconds."""

    def __init__(self, pace: Pace, now_s: float) -> None:
        """Begin at ``now_s``: what was before is not known."""
        self._pace = pace
        self._anywhere = Demand(pace, now_s)
        self._inside: dict[str, Demand] = {}

    def look(self, wish: Wish, sights: Sights, now_s: float) -> Scale | None:
        """Say how many replicas there shall be from now on, and where, if that is something else than before."""
        kept = wish.wanted_in
        asked = sorted(region for region in {*sights.inside, *kept} if wish.allows(region))
        self._inside = {region: self._inside.get(region) or Demand(self._pace, now_s) for region in asked}
        for region in asked:
            scale = self._look_inside(region, wish, sights.inside.get(region, _NOTHING), now_s)
            if scale is not None:
                return scale
        bounds = _Numbers(least=max(wish.least, sum(kept.values())), most=wish.most, wanted=wish.wanted)
        change = self._anywhere.look(bounds, sights.anywhere, now_s)
        return None if change is None else _scale(change.replicas, kept, change.reason)

    def _look_inside(self, region: str, wish: Wish, sight: Sight, now_s: float) -> Scale | None:
        kept = wish.wanted_in
        own = kept.get(region, 0)
        # What is there anyway serves those who wait; only what is kept there for them is given up again.
        there = max(own, sight.replicas) if sight.waiting else own
        most = wish.most - sum(kept.values()) + own
        change = self._inside[region].look(_Numbers(least=0, most=most, wanted=there), sight, now_s)
        if change is None:
            return None
        after = {**kept, region: change.replicas}
        more = max(0, change.replicas - there)
        total = min(wish.most, max(wish.wanted + more, sum(after.values())))
        return _scale(total, after, f"in region {region}: {change.reason}")


def _scale(replicas: int, regions: Mapping[str, int], reason: str) -> Scale:
    kept = tuple(InRegion(region=region, replicas=count) for region, count in sorted(regions.items()) if count)
    return Scale(replicas=replicas, regions=kept, reason=reason)
