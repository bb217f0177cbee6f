"""The policies there are, by name."""

from __future__ import annotations

from typing import Final

from gateway.scheduling import filters, scores
from gateway.scheduling.policy import Policy, Weighted

_FILTERS: Final = (
    filters.reporting,
    filters.staying,
    filters.free,
    filters.unlike,
    filters.regarded,
    filters.unsuspected,
)

EDGE_FIRST: Final = Policy(
    name="edge-first",
    version=1,
    filters=_FILTERS,
    scores=(
        Weighted(scores.distance),
        Weighted(scores.prompt),
        Weighted(scores.cached),
        Weighted(scores.answer),
        Weighted(scores.anew),
        Weighted(scores.doubt),
    ),
)

POLICIES: Final[dict[str, Policy]] = {policy.name: policy for policy in (EDGE_FIRST,)}
