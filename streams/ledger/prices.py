"""Which price held for what at a moment, and what an amount of work costs by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from streams.billing.events import PriceRule, PricesSet
    from streams.devices.replica import ModelKind, Tier

_TIERS: tuple[Tier, ...] = ("edge", "group", "cloud")


class Work(NamedTuple):
    """What is to be paid for, in tokens; the prompt with those of it that came out of a cache."""

    kind: ModelKind
    prompt_tokens: int
    cached_prompt_tokens: int
    completion_tokens: int


class Prices:
    """Every price list there was, in the order of their versions."""

    def __init__(self, lists: Iterable[PricesSet] = ()) -> None:
        """Begin with those that are known; ``take`` adds more."""
        self._lists: list[PricesSet] = []
        for each in lists:
            self.take(each)

    def __iter__(self) -> Iterator[PricesSet]:
        """Every list, the oldest first."""
        return iter(self._lists)

    @property
    def newest_version(self) -> int:
        """0 where there never was a list."""
        return self._lists[-1].version if self._lists else 0

    def fault_of(self, fresh: PricesSet) -> str | None:
        """Why a list cannot follow those that are there; None if it can."""
        if fresh.version != self.newest_version + 1:
            return f"version {fresh.version} cannot follow version {self.newest_version}"
        if fresh.effective_at_ms < fresh.at_ms:
            return "a price list cannot hold for a time that is over when it is written"
        if self._lists and fresh.effective_at_ms < self._lists[-1].effective_at_ms:
            return f"it would hold before version {self.newest_version} does: a price list is never changed"
        return None

    def take(self, fresh: PricesSet) -> bool:
        """Add a list; False, and nothing changes, if it cannot follow."""
        if self.fault_of(fresh) is not None:
            return False
        self._lists.append(fresh)
        return True

    def at(self, at_ms: int) -> PricesSet | None:
        """Return the list that holds at a moment."""
        return next((each for each in reversed(self._lists) if each.effective_at_ms <= at_ms), None)

    def after(self, at_ms: int) -> PricesSet | None:
        """Return the first list that does not hold yet."""
        return next((each for each in self._lists if each.effective_at_ms > at_ms), None)

    def version(self, number: int) -> PricesSet | None:
        """Return a list by its version."""
        return self._lists[number - 1] if 1 <= number <= len(self._lists) else None


def rule_for(prices: PricesSet, model: str, tier: Tier) -> PriceRule | None:
    """Return the first rule of a list that fits."""
    for rule in prices.rules:
        if rule.tier in (None, tier) and _fits(rule.model, model):
            return rule
    return None


def cost_nano(rule: PriceRule, work: Work) -> int:
    """Return what work costs: sums of products of whole numbers, so nothing is rounded."""
    if work.kind == "embedding":
        return work.prompt_tokens * (rule.prompt if rule.embedding is None else rule.embedding)
    cached = rule.prompt if rule.cached_prompt is None else rule.cached_prompt
    fresh_tokens = work.prompt_tokens - work.cached_prompt_tokens
    return fresh_tokens * rule.prompt + work.cached_prompt_tokens * cached + work.completion_tokens * rule.completion


def most_nano(prices: PricesSet, models: tuple[str, ...], tier: Tier | None, work: Work) -> int | None:
    """Return what work costs at most, whichever of the models does it and wherever; None where none has a price."""
    tiers = _TIERS if tier is None else (tier,)
    rules = [rule_for(prices, model, each) for model in models for each in tiers]
    costs = [_dearest(rule, work) for rule in rules if rule is not None]
    return max(costs, default=None)


def _dearest(rule: PriceRule, work: Work) -> int:
    all_cached = work._replace(cached_prompt_tokens=work.prompt_tokens)
    return max(cost_nano(rule, work), cost_nano(rule, all_cached))


def _fits(pattern: str, model: str) -> bool:
    return model.startswith(pattern[:-1]) if pattern.endswith("*") else pattern == model
