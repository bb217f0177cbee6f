"""A policy as it is for wishes of one kind: what passes over nobody there, and counts for nothing, is left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.scheduling import filters, scores

if TYPE_CHECKING:
    from gateway.scheduling.filters import Filter
    from gateway.scheduling.policy import Policy, Weighted
    from gateway.scheduling.wish import Kind

_MOST_KEPT: Final = 1024
"""Rules are few: each policy's, for each kind of wish that comes. Of a process that makes policies by the hundred, all
are forgotten now and then."""


class Rule(NamedTuple):
    """What one placement goes by."""

    label: str
    """Name and version of the policy."""
    filters: tuple[Filter, ...]
    scores: tuple[Weighted, ...]
    names: tuple[str, ...]
    """Of the scores, as a placement's record has them."""


_rules: Final[dict[tuple[Policy, Kind], Rule]] = {}


def rule_for(policy: Policy, kind: Kind) -> Rule:
    """Return the policy as it is for such wishes; it is worked out once for each kind of them."""
    rule = _rules.get((policy, kind))
    if rule is None:
        if len(_rules) >= _MOST_KEPT:
            _rules.clear()
        rule = _rules[policy, kind] = _rule(policy, kind)
    return rule


def _rule(policy: Policy, kind: Kind) -> Rule:
    counting = [each for each in policy.scores if (asks := scores.MATTERS.get(each.score)) is None or asks(kind)]
    return Rule(
        label=policy.label,
        filters=tuple([each for each in policy.filters if (asks := filters.MATTERS.get(each)) is None or asks(kind)]),
        scores=tuple(counting),
        names=tuple([each.name for each in counting]),
    )
