"""Policies that know little, to compare the others with: what a load balancer does that knows nothing of prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.scheduling.policies import EDGE_FIRST
from gateway.scheduling.policy import Policy, Weighted

if TYPE_CHECKING:
    from gateway.scheduling.case import Case


def idle(case: Case) -> float:
    """How long it was given nothing: always the longest, and all get their turn."""
    return -case.seat.given_at_s


def unloaded(case: Case) -> float:
    """How much of it is free."""
    return case.seat.free_share


ROUND_ROBIN: Final = Policy("round-robin", 1, EDGE_FIRST.filters, (Weighted(idle),))
LEAST_LOADED: Final = Policy("least-loaded", 1, EDGE_FIRST.filters, (Weighted(unloaded),))
RANDOM: Final = Policy("random", 1, EDGE_FIRST.filters, (), draw="uniform")

BASELINES: Final = {policy.name: policy for policy in (ROUND_ROBIN, LEAST_LOADED, RANDOM)}
