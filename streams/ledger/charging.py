"""The rule: what the end of a task costs, who earns what of it, and what the rule has no answer to (docs/ledger.md)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from streams.billing.events import LedgerSuspended, Posting, SuspenseCode, Transaction, Used
from streams.billing.money import FEES, MOST_NANO, PPM, ROUNDING, SUSPENSE, held, node, user
from streams.events import TaskCancelled, TaskCompleted, TaskDead, TaskFailed
from streams.ledger.chain import task_bytes, task_ms
from streams.ledger.prices import Work, cost_nano, rule_for
from streams.tasks.metering import MOST_TOKENS, Metered
from streams.tokens import Token, is_token

if TYPE_CHECKING:
    from streams.billing.events import Outcome, PriceRule, PricesSet
    from streams.devices.replica import Tier
    from streams.events import AttemptShare, EndEvent
    from streams.ledger.chain import OpenHold
    from streams.ledger.prices import Prices
    from streams.subjects import TaskKey

NO_CURRENCY: Final = "XXX"
"""Where nothing costs anything (ISO 4217's code for no currency)."""

CLOCKS_DIFFER: Final = timedelta(days=1)
"""How far the time of an end may be ahead of the ledger's, or before its hold."""

_TOKENS_PER_CHAR: Final = 8
_TOKENS_UNSEEN: Final = 64
"""A character may take several tokens, and some tokens show nothing; beyond that a claim is above what was seen."""

_LAST_MS: Final = 253_402_300_799_999
_OUTCOMES: Final[dict[type[EndEvent], Outcome]] = {
    TaskCompleted: "completed",
    TaskFailed: "failed",
    TaskCancelled: "cancelled",
    TaskDead: "dead",
}


class Settled(Struct, frozen=True, kw_only=True):
    """What is to be written about an end: a charge, or that there is none, and why."""

    transaction: Transaction
    code: SuspenseCode | None = None
    message: str = ""
    node: str | None = None
    claimed_nano: int | None = None

    def suspended(self, *, previous: str) -> LedgerSuspended | None:
        """Return it as an event; None where it is a plain charge."""
        if self.code is None:
            return None
        return LedgerSuspended(
            at_ms=self.transaction.at_ms,
            previous=previous,
            code=self.code,
            message=self.message,
            transaction=self.transaction,
            node=self.node,
            claimed_nano=self.claimed_nano,
        )


class _Suspect(Exception):
    """The rule has no answer."""

    def __init__(
        self, code: SuspenseCode, message: str, *, node: str | None = None, claimed_nano: int | None = None
    ) -> None:
        super().__init__(message)
        self.code: SuspenseCode = code
        self.node = node
        self.claimed_nano = None if claimed_nano is None else min(claimed_nano, MOST_NANO)


def charge_id(task: str) -> str:
    """The id of the one transaction that settles a task."""
    return f"charge:{task}"


def settle(key: TaskKey, end: EndEvent, hold: OpenHold | None, prices: Prices, *, at_ms: int) -> Settled:
    """Return what an end costs: one transaction that charges, pays the nodes, and releases what was held.

    Args:
        key: whose task it is, and which.
        end: its end.
        hold: what was put aside for it; None: nothing.
        prices: all price lists.
        at_ms: the ledger's time.
    """
    used = used_of(end, hold)
    try:
        _check(end, used, hold, at_ms)
        postings, version = _postings(key, end, used, hold, prices)
    except _Suspect as suspect:
        return Settled(
            transaction=suspense(key, hold, at_ms=at_ms),
            code=suspect.code,
            message=str(suspect)[:512],
            node=suspect.node,
            claimed_nano=suspect.claimed_nano,
        )
    priced = Used(
        model=used.model,
        kind=used.kind,
        tier=used.tier,
        key=used.key,
        price_version=version,
        outcome=used.outcome,
        prompt_tokens=used.prompt_tokens,
        cached_prompt_tokens=used.cached_prompt_tokens,
        completion_tokens=used.completion_tokens,
    )
    return Settled(
        transaction=Transaction(
            id=charge_id(key.task),
            kind="charge",
            at_ms=at_ms,
            currency=NO_CURRENCY if hold is None else hold.currency,
            postings=postings,
            task=key.task,
            used=priced,
        )
    )


def unreadable(key: TaskKey, hold: OpenHold | None, reason: str, *, at_ms: int) -> Settled:
    """Return what is written about an end that nobody can read."""
    return Settled(transaction=suspense(key, hold, at_ms=at_ms), code="unreadable", message=reason[:512])


def forgotten(key: TaskKey, *, at_ms: int) -> Settled:
    """Return what is written about a task so old that nobody knows whether it was settled."""
    message = "the task is older than what is remembered of settled ones: it may have been charged"
    return Settled(transaction=suspense(key, None, at_ms=at_ms), code="impossible_time", message=message)


def suspense(key: TaskKey, hold: OpenHold | None, *, at_ms: int) -> Transaction:
    """Return the transaction that settles a task by setting aside what was held for it."""
    amount = 0 if hold is None else hold.amount_nano
    return Transaction(
        id=charge_id(key.task),
        kind="suspense",
        at_ms=at_ms,
        currency=NO_CURRENCY if hold is None else hold.currency,
        postings=_moved((held(key.account), -amount), (SUSPENSE, amount)),
        task=key.task,
    )


def used_of(end: EndEvent, hold: OpenHold | None) -> Used:
    """Return what an end says was used: of a partial answer what was delivered, and its prompt if anything was."""
    metered = end.metered or _by_hold(hold)
    if isinstance(end, TaskCompleted):
        prompt, cached = end.usage.prompt_tokens, end.usage.cached_prompt_tokens
        completion = end.usage.completion_tokens
    else:
        prompt, cached, completion = _delivered(end, metered)
    return Used(
        model=end.model[:256],
        kind=metered.kind,
        tier=metered.tier,
        key=metered.key,
        price_version=0,
        outcome=_OUTCOMES[type(end)],
        prompt_tokens=min(prompt, 2**53 - 1),
        cached_prompt_tokens=min(cached, 2**53 - 1),
        completion_tokens=min(completion, 2**53 - 1),
    )


def _delivered(end: TaskFailed | TaskCancelled | TaskDead, metered: Metered) -> tuple[int, int, int]:
    """What of an answer that is not whole was delivered: prompt, of that cached, and completion, in tokens."""
    tokens = sum(share.tokens for share in end.shares)
    if metered.kind == "embedding":
        # Of vectors the shares count the tokens that were read.
        return tokens, 0, 0
    if tokens == 0 and not any(share.chars for share in end.shares):
        return 0, 0, 0
    prompt = metered.prompt_tokens or 0
    return prompt, min(metered.cached_prompt_tokens, prompt), tokens


def _by_hold(hold: OpenHold | None) -> Metered:
    if hold is None:
        return Metered()
    return Metered(key=hold.terms.key, kind=hold.terms.kind, tier=hold.terms.tier or "edge")


def _check(end: EndEvent, used: Used, hold: OpenHold | None, at_ms: int) -> None:
    most = max(used.prompt_tokens, used.completion_tokens)
    if most > MOST_TOKENS or used.cached_prompt_tokens > used.prompt_tokens:
        raise _Suspect(
            "impossible_usage", f"{most} tokens, {used.cached_prompt_tokens} of them cached: no task uses that"
        )
    for share in end.shares:
        if not is_token(share.node):
            raise _Suspect("impossible_node", f"no node can be called {share.node[:40]!r}")
        if used.kind == "chat" and share.tokens > _TOKENS_PER_CHAR * share.chars + _TOKENS_UNSEEN:
            message = f"{share.node} claims {share.tokens} tokens for {share.chars} characters"
            raise _Suspect("impossible_usage", message, node=share.node)
    slack_ms = round(CLOCKS_DIFFER.total_seconds() * 1000)
    earliest = 0 if hold is None else hold.at_ms - slack_ms
    if not earliest <= end.at_ms <= min(at_ms + slack_ms, _LAST_MS):
        raise _Suspect("impossible_time", f"it says that it ended at {end.at_ms}, and the ledger's clock says {at_ms}")


def _postings(
    key: TaskKey, end: EndEvent, used: Used, hold: OpenHold | None, prices: Prices
) -> tuple[tuple[Posting, ...], int]:
    """Return the postings of a charge, and the version of the prices that it is by."""
    if hold is None:
        _need_no_price(key, end, used, prices)
    if hold is None or hold.terms.price_version == 0:
        return shares_of(end.shares, 0, 0), 0
    terms, priced = hold.terms, prices.version(hold.terms.price_version)
    if priced is None:
        raise _Suspect("no_price", f"there is no price list of version {terms.price_version}")
    if priced.currency != hold.currency:
        raise _Suspect("currency_mismatch", f"{hold.currency} was held, and the prices are in {priced.currency}")
    cost = cost_nano(_rule(priced, (used.model, terms.model), used.tier), work_of(used))
    if cost > hold.amount_nano:
        message = f"it would cost {cost}, and {hold.amount_nano} was held for it"
        raise _Suspect("above_hold", message, node=_last_node(end), claimed_nano=cost)
    back = hold.amount_nano - cost
    taken = _moved((held(key.account), -hold.amount_nano), (user(key.account), back))
    return (*taken, *shares_of(end.shares, cost, priced.fee_ppm)), terms.price_version


def _need_no_price(key: TaskKey, end: EndEvent, used: Used, prices: Prices) -> None:
    """Whoever asked before there were prices pays nothing; whoever got by the gate afterwards is looked into.

    A task that the gate has refused ends without a hold too, and without a word.
    """
    if not isinstance(end, TaskCompleted) and used.prompt_tokens == used.completion_tokens == 0:
        return
    raw = task_bytes(key.task)
    priced = prices.at(0 if raw is None else task_ms(raw))
    if priced is None:
        return
    rule = rule_for(priced, used.model, used.tier)
    claimed = None if rule is None else cost_nano(rule, work_of(used))
    raise _Suspect("no_hold", "nothing was put aside for it: it was not accepted by the gate", claimed_nano=claimed)


def _rule(priced: PricesSet, models: tuple[str, ...], tier: Tier) -> PriceRule:
    """Return the rule for the model that has answered; where that has none, for the one that was asked for."""
    rules = (rule_for(priced, model, tier) for model in models)
    rule = next((each for each in rules if each is not None), None)
    if rule is None:
        raise _Suspect("no_price", f"prices of version {priced.version} have none for {models[0]} in the tier {tier}")
    return rule


def shares_of(shares: tuple[AttemptShare, ...], cost: int, fee_ppm: int) -> tuple[Posting, ...]:
    """Split a charge: the operator's fee, and to each node what its signed part of the accepted text earns.

    All is rounded down; what is left of the rounding is posted to ``rounding``. What an unsigned part would have
    earned goes to the fees, and says so; so does all where nobody has written a token. A node that has signed for
    tokens is named also where they earn nothing: its work counts elsewhere.
    """
    fee = cost * fee_ppm // PPM
    pool = cost - fee
    tokens = sum(share.tokens for share in shares)
    if tokens == 0:
        return _moved((FEES, cost))
    parts = [Posting(account=str(FEES), amount_nano=fee)]
    for share in (each for each in shares if each.tokens):
        amount = pool * share.tokens // tokens
        if share.signed:
            parts.append(Posting(account=str(node(Token(share.node))), amount_nano=amount, attempt=share.attempt))
        else:
            parts.append(Posting(account=str(FEES), amount_nano=amount, attempt=share.attempt, why="unsigned"))
    rest = cost - sum(part.amount_nano for part in parts)
    parts.append(Posting(account=str(ROUNDING), amount_nano=rest))
    return tuple(part for part in parts if part.amount_nano or part.account.startswith("node:"))


def work_of(used: Used) -> Work:
    """Return what is paid for."""
    return Work(used.kind, used.prompt_tokens, used.cached_prompt_tokens, used.completion_tokens)


def _moved(*moves: tuple[object, int]) -> tuple[Posting, ...]:
    return tuple(Posting(account=str(account), amount_nano=amount) for account, amount in moves if amount)


def _last_node(end: EndEvent) -> str | None:
    return end.shares[-1].node if end.shares else None
