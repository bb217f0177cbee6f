"""Whose work is compared: the mesh's own policies, those that know little, and one that knows all but what was read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.scheduling import scores
from gateway.scheduling.baselines import BASELINES
from gateway.scheduling.policies import EDGE_FIRST, POLICIES

if TYPE_CHECKING:
    from gateway.scheduling.policy import Policy

NO_PREFIX: Final = EDGE_FIRST._replace(
    name="no-prefix", scores=tuple(each for each in EDGE_FIRST.scores if each.score is not scores.cached)
)
"""``edge-first`` but for the prefix: what that alone is worth."""

_ALL: Final = (*POLICIES.values(), NO_PREFIX, *BASELINES.values())

# Nobody owns a device of a scenario, so nobody could be given anything by ``private``.
COMPARED: Final[dict[str, Policy]] = {policy.name: policy for policy in _ALL if policy.name != "private"}
