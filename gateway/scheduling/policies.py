"""The policies there are, by name. Whoever changes one raises its version: records name the rule they were made by."""

from __future__ import annotations

from typing import Final

from gateway.scheduling import filters, scores
from gateway.scheduling.policy import Policy, Weighted

_COMMON: Final = (
    filters.reporting,
    filters.staying,
    filters.free,
    filters.unlike,
    filters.regarded,
    filters.unsuspected,
    filters.sound,
    filters.fitting,
    filters.roomy,
    filters.inside,
    filters.affordable,
    filters.reputable,
)

_TIMES: Final = (
    Weighted(scores.distance),
    Weighted(scores.prompt),
    Weighted(scores.cached),
    Weighted(scores.answer),
    Weighted(scores.anew),
    Weighted(scores.doubt),
    Weighted(scores.returning),
    Weighted(scores.unlike_asked),
)

_TEN_S_A_CENT: Final = 1_000.0
_TEN_MINUTES_A_CENT: Final = 60_000.0

EDGE_FIRST: Final = Policy(
    name="edge-first",
    version=1,
    filters=(*_COMMON, filters.worth_the_cloud),
    scores=(
        *_TIMES,
        Weighted(scores.late, 10.0),
        Weighted(scores.outside),
        Weighted(scores.price, _TEN_S_A_CENT),
        Weighted(scores.power),
    ),
)
"""The mesh's own devices; a provider outside where they are full, too slow for the deadline or the task."""

LATENCY: Final = Policy(
    name="latency",
    version=1,
    filters=_COMMON,
    scores=(*_TIMES, Weighted(scores.late, 10.0)),
)
"""Whoever is done first, whatever it costs."""

COST: Final = Policy(
    name="cost",
    version=1,
    filters=(*_COMMON, filters.worth_the_cloud),
    scores=(
        *_TIMES,
        Weighted(scores.late, 10.0),
        Weighted(scores.price, _TEN_MINUTES_A_CENT),
        Weighted(scores.power),
    ),
)
"""Whoever is cheapest; among equals whoever is done first."""

PRIVATE: Final = Policy(
    name="private",
    version=1,
    filters=(filters.own, *_COMMON),
    scores=(*_TIMES, Weighted(scores.late, 10.0), Weighted(scores.power)),
)
"""Devices that DEVICES says are the account's own, and no other ever."""

IG3: Final = Policy(
    name="ig3",
    version=1,
    filters=(*_COMMON, filters.worth_the_cloud),
    scores=(
        Weighted(scores.stake),
        Weighted(scores.uptime),
        Weighted(scores.latency),
        Weighted(scores.merit),
        Weighted(scores.outside),
    ),
    draw="weighted",
)
"""One of the best eight, drawn by the task's id at odds of stake x uptime x reputation / time."""

POLICIES: Final[dict[str, Policy]] = {policy.name: policy for policy in (EDGE_FIRST, LATENCY, COST, PRIVATE, IG3)}
