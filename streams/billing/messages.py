"""What services ask the ledger, in CORE on ``ledger.<verb>``, and its answers: a part of ``streams.messages``."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from streams.billing.events import PlanKind, PricesSet
from streams.billing.money import Currency, Nano, NotNegative
from streams.devices.replica import ModelKind, Tier
from streams.tasks.metering import Key, Tokens
from streams.wire import Wire

_Name = Annotated[str, Meta(max_length=64)]
_Model = Annotated[str, Meta(min_length=1, max_length=256)]
_Day = Annotated[str, Meta(pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$", max_length=10)]
_Version = Annotated[int, Meta(ge=0, le=2**31 - 1)]

MOST_ROWS = 2000
"""Rows of usage in one answer."""

# --- dispatcher -> ledger: ledger.hold ---------------------------------------------------------------------------


class HoldWanted(Wire, frozen=True, kw_only=True, tag="ledger.hold_wanted.v1"):
    """Put aside what a task may cost at most, before it is accepted. Asked again, it is answered again."""

    account: _Name
    task: _Name
    model: _Model
    others: Annotated[tuple[_Model, ...], Meta(max_length=16)] = ()
    """Models that may answer instead: the dearest of all counts."""
    kind: ModelKind = "chat"
    tier: Tier | None = None
    """Where it may run only."""
    key: Key | None = None
    prompt_tokens_most: Tokens
    completion_tokens_most: Tokens


class Held(Wire, frozen=True, kw_only=True, tag="ledger.held.v1"):
    """It is put aside. ``price_version`` 0: nothing has a price, and nothing was written."""

    task: _Name
    price_version: _Version = 0
    currency: Currency | None = None
    amount_nano: NotNegative = 0


HoldRefusalCode = Literal[
    "insufficient_quota", "budget_exceeded", "no_price", "currency_mismatch", "already_charged", "ledger_behind"
]


class HoldRefused(Wire, frozen=True, kw_only=True, tag="ledger.hold_refused.v1"):
    """The task is not to be accepted; ``status`` is what HTTP says: 402, 429, 404, 409 or 503."""

    task: _Name
    code: HoldRefusalCode
    status: Annotated[int, Meta(ge=400, le=599)]
    message: Annotated[str, Meta(max_length=512)]


# --- gateway -> ledger: ledger.usage, ledger.balance, ledger.prices ----------------------------------------------


class UsageWanted(Wire, frozen=True, kw_only=True, tag="ledger.usage_wanted.v1"):
    """What has an account used on these days (UTC), both with? ``after`` goes on behind a full answer."""

    account: _Name
    first_day: _Day
    last_day: _Day
    after: Tokens = 0


class UsageRow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an account has used of one model by one key on one day."""

    day: _Day
    model: _Model
    kind: ModelKind = "chat"
    key: Key | None = None
    currency: Currency | None = None
    tasks: Tokens = 0
    hits: Tokens = 0
    """Answers out of the response cache."""
    prompt_tokens: Tokens = 0
    cached_prompt_tokens: Tokens = 0
    completion_tokens: Tokens = 0
    amount_nano: Nano = 0
    corrections: Tokens = 0
    """How often a person has charged something out of suspense; such a row has nothing else but its amount."""


class UsagePage(Wire, frozen=True, kw_only=True, tag="ledger.usage.v1"):
    """Rows by day, model and key; ``more`` follow behind ``next_after``."""

    rows: Annotated[tuple[UsageRow, ...], Meta(max_length=MOST_ROWS)] = ()
    next_after: Tokens | None = None


class BalanceWanted(Wire, frozen=True, kw_only=True, tag="ledger.balance_wanted.v1"):
    """What has an account, and how does it pay?"""

    account: _Name


class BalanceRow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an account has in one currency."""

    currency: Currency
    free_nano: Nano = 0
    """What it may spend; below nothing where it pays afterwards."""
    held_nano: Nano = 0
    spent_this_month_nano: Nano = 0


class Balance(Wire, frozen=True, kw_only=True, tag="ledger.balance.v1"):
    """The answer: nothing in a currency that never moved."""

    account: _Name
    plan: PlanKind = "prepaid"
    limit_nano: NotNegative = 0
    monthly_nano: NotNegative | None = None
    rows: Annotated[tuple[BalanceRow, ...], Meta(max_length=64)] = ()


class PricesWanted(Wire, frozen=True, kw_only=True, tag="ledger.prices_wanted.v1"):
    """Which price list holds now?"""


class PricesShown(Wire, frozen=True, kw_only=True, tag="ledger.prices.v1"):
    """The list that holds, and the one that follows it; None: there is none."""

    current: PricesSet | None = None
    following: PricesSet | None = None


class LedgerRefusal(Wire, frozen=True, kw_only=True, tag="ledger.refusal.v1"):
    """The ledger cannot say: ``message`` says why."""

    message: Annotated[str, Meta(max_length=512)]


HoldAnswer = Held | HoldRefused
LEDGER_MESSAGES: Final[tuple[type[Wire], ...]] = (
    HoldWanted,
    Held,
    HoldRefused,
    UsageWanted,
    UsagePage,
    BalanceWanted,
    Balance,
    PricesWanted,
    PricesShown,
    LedgerRefusal,
)
"""Every message of this module."""
