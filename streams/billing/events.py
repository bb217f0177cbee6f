"""The part of the event catalogue that BILLING holds: the books, kept for ever (ADR 22).

Each chain is fenced, and each event on it names the hash of the one before, so that a changed entry shows.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from streams.billing.money import AccountText, Currency, Nano, NotNegative, Share
from streams.devices.replica import ModelKind, Tier
from streams.event import Event
from streams.tasks.metering import Key, Tokens

Outcome = Literal["completed", "failed", "cancelled", "dead"]
_Name = Annotated[str, Meta(max_length=64)]
_Model = Annotated[str, Meta(max_length=256)]
_Words = Annotated[str, Meta(max_length=512)]
_Id = Annotated[str, Meta(min_length=1, max_length=160)]
_Version = Annotated[int, Meta(ge=0, le=2**31 - 1)]
_Attempt = Annotated[int, Meta(ge=1)]
_Times = Annotated[int, Meta(ge=1, le=2**53 - 1)]
_Sequence = Annotated[int, Meta(ge=0, le=2**53 - 1)]
_Digest = Annotated[str, Meta(max_length=64)]

Previous = Annotated[str, Meta(max_length=64)]
"""SHA-256 of the body of the event before it on the same chain, in hex; empty: it is the first."""

TransactionKind = Literal[
    "deposit",
    "withdrawal",
    "hold",
    "release",
    "charge",
    "cache_hit",
    "reward",
    "payout",
    "correction",
    "suspense",
]

SuspenseCode = Literal[
    "no_hold",
    "above_hold",
    "no_price",
    "currency_mismatch",
    "impossible_usage",
    "impossible_time",
    "impossible_node",
    "unreadable",
]
"""Why something was not charged: ``docs/ledger.md`` has what each means and what to do."""


class Posting(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One side of a transaction: what an account gets, or gives where it is negative."""

    account: AccountText
    amount_nano: Nano
    attempt: _Attempt | None = None
    """Of an earning: for which attempt of the task."""
    why: _Name = ""
    """Why it is here, where it might be elsewhere: ``unsigned``."""


class HoldTerms(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a task was let in with: the prices of this moment are those that it is charged at."""

    price_version: _Version
    model: _Model
    kind: ModelKind = "chat"
    tier: Tier | None = None
    """Where it may run only; None: anywhere, so the dearest was held."""
    key: Key | None = None
    prompt_tokens_most: Tokens
    completion_tokens_most: Tokens


class Used(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was metered: the basis of a charge, and of every view of the usage."""

    model: _Model
    kind: ModelKind = "chat"
    tier: Tier = "edge"
    key: Key | None = None
    price_version: _Version
    """0: no price was in force."""
    outcome: Outcome = "completed"
    prompt_tokens: Tokens = 0
    """With those out of a cache."""
    cached_prompt_tokens: Tokens = 0
    completion_tokens: Tokens = 0
    times: _Times = 1
    """Of an answer out of the response cache: how often it was given."""


class Transaction(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Money that moves, all at once: its postings add up to nothing.

    ``id`` says what it is for, so that the same is never done twice: ``hold:<task>``, ``charge:<task>``,
    ``hit:<batch>``, ``deposit:<reference>``. The first of an id counts.
    """

    id: _Id
    kind: TransactionKind
    at_ms: int
    """By the ledger's clock."""
    currency: Currency
    postings: Annotated[tuple[Posting, ...], Meta(max_length=1024)] = ()
    task: _Name | None = None
    hold: HoldTerms | None = None
    used: Used | None = None
    by: _Words = ""
    """Who has asked for it, where that was a person."""
    note: _Words = ""


class LedgerPosted(Event, frozen=True, kw_only=True, tag="ledger.posted.v1"):
    """Transactions of one chain, in their order; all of them stand, or none."""

    at_ms: int
    previous: Previous = ""
    transactions: Annotated[tuple[Transaction, ...], Meta(min_length=1, max_length=4096)]


class LedgerSuspended(Event, frozen=True, kw_only=True, tag="ledger.suspended.v1"):
    """Something happened that the rule has no answer to: somebody must look. What was held is in ``suspense``."""

    at_ms: int
    previous: Previous = ""
    code: SuspenseCode
    message: _Words
    transaction: Transaction
    """Of the kind ``suspense``; without postings where nothing was held."""
    node: _Name | None = None
    claimed_nano: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    """What it would have cost, where that can be said."""


class PriceRule(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the tokens of some models cost, in nano per token. The first rule of a list that fits counts."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    """A name, or its beginning and ``*``."""
    tier: Tier | None = None
    """None: wherever it runs."""
    prompt: NotNegative = 0
    cached_prompt: NotNegative | None = None
    """None: as any other token of a prompt."""
    completion: NotNegative = 0
    embedding: NotNegative | None = None
    """None: as a token of a prompt."""


class PricesSet(Event, frozen=True, kw_only=True, tag="prices.set.v1"):
    """A price list. It is never changed, only followed by another version."""

    at_ms: int
    previous: Previous = ""
    version: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    effective_at_ms: int
    currency: Currency
    rules: Annotated[tuple[PriceRule, ...], Meta(max_length=4096)]
    fee_ppm: Share = 0
    """The operator's part of each charge; nodes share the rest."""
    cached_answer_ppm: Share = 0
    """What an answer out of the response cache costs, as a part of what generating it has cost."""
    by: _Words = ""


PlanKind = Literal["prepaid", "postpaid", "free"]


class KeyBudget(Struct, frozen=True, kw_only=True):
    """What one API key may spend in a calendar month (UTC)."""

    key: Annotated[str, Meta(min_length=1, max_length=64)]
    monthly_nano: NotNegative


class PlanSet(Event, frozen=True, kw_only=True, tag="plan.set.v1"):
    """How an account pays from now on; the newest counts."""

    at_ms: int
    previous: Previous = ""
    kind: PlanKind
    currency: Currency | None = None
    """None: that of the price list."""
    limit_nano: NotNegative = 0
    """Postpaid: how far below nothing it may go."""
    monthly_nano: NotNegative | None = None
    """What it may spend in a calendar month (UTC); None: as much as it has."""
    keys: Annotated[tuple[KeyBudget, ...], Meta(max_length=1024)] = ()
    by: _Words = ""


class Total(Struct, frozen=True, kw_only=True):
    """What an account of the books has."""

    account: AccountText
    currency: Currency
    amount_nano: Nano


class PeriodSealed(Event, frozen=True, kw_only=True, tag="period.sealed.v1"):
    """All events of the books up to ``last_sequence`` are closed: their hash, and what they add up to."""

    at_ms: int
    previous: Previous = ""
    period: Annotated[str, Meta(pattern="^[0-9]{4}-[0-9]{2}$", max_length=7)]
    """The month (UTC) that is over: ``2026-11``."""
    first_sequence: _Sequence
    last_sequence: _Sequence
    events: _Sequence
    transactions: _Sequence
    digest: _Digest
    """SHA-256 over sequence, subject and body of each of the events, in hex."""
    totals_digest: _Digest
    """SHA-256 over what every account has behind ``last_sequence``, in hex."""
    totals: Annotated[tuple[Total, ...], Meta(max_length=64)] = ()
    """Of the accounts that are nobody's own."""


LedgerEvent = LedgerPosted | LedgerSuspended | PricesSet | PlanSet | PeriodSealed
"""What BILLING holds of money that is paid in and charged; ``streams.billing.log`` has all that it may hold."""
