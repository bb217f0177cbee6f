"""What an answer out of the response cache costs: a part of what generating it would, and never more than is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.billing.events import Posting, Transaction, Used
from streams.billing.money import FEES, PPM, user
from streams.ledger.charging import NO_CURRENCY, work_of
from streams.ledger.prices import cost_nano, rule_for

if TYPE_CHECKING:
    from streams.billing.events import PlanSet
    from streams.cache.events import CacheHit
    from streams.ledger.fold import LedgerState
    from streams.ledger.prices import Prices
    from streams.tokens import Token


def hit_id(hit: CacheHit) -> str:
    """The id of the one transaction that charges a batch of hits."""
    return f"hit:{hit.batch}"


def charge_hit(account: Token, hit: CacheHit, state: LedgerState, plan: PlanSet | None, *, at_ms: int) -> Transaction:
    """Return what answers out of the cache cost an account, at the prices of when it got them.

    Nothing is put aside for them, so an account that has less pays what it has: none falls below its floor. No node
    earns: none has worked.
    """
    priced = state.prices.at(min(hit.at_ms, at_ms))
    is_free = plan is not None and plan.kind == "free"
    used = Used(
        model=hit.model,
        price_version=0 if priced is None or is_free else priced.version,
        prompt_tokens=hit.usage.prompt_tokens,
        cached_prompt_tokens=min(hit.usage.cached_prompt_tokens, hit.usage.prompt_tokens),
        completion_tokens=hit.usage.completion_tokens,
        times=hit.times,
    )
    currency = NO_CURRENCY if priced is None else priced.currency
    limit = plan.limit_nano if plan is not None and plan.kind == "postpaid" else 0
    there = max(0, state.balance(str(user(account)), currency) + limit)
    amount = min(there, _cost(used, state.prices))
    postings = (
        Posting(account=str(user(account)), amount_nano=-amount),
        Posting(account=str(FEES), amount_nano=amount),
    )
    return Transaction(
        id=hit_id(hit),
        kind="cache_hit",
        at_ms=at_ms,
        currency=currency,
        postings=postings if amount else (),
        used=used,
        note=f"task {hit.task}"[:512],
    )


def _cost(used: Used, prices: Prices) -> int:
    priced = prices.version(used.price_version)
    rule = None if priced is None else rule_for(priced, used.model, used.tier)
    if priced is None or rule is None:
        return 0
    return cost_nano(rule, work_of(used)) * used.times * priced.cached_answer_ppm // PPM
