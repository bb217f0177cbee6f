"""The part of the event catalogue that the book of payouts holds (``books.payouts`` on BILLING).

One chain for all of them: whoever prepares a payout must know which others are prepared, so that two are never given
the same place in a chain's order of transactions.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from streams.billing.events import Previous
from streams.billing.money import Currency, NotNegative
from streams.event import Event
from streams.payouts.payout import DriverName
from streams.tokens import Token

_Id = Annotated[str, Meta(min_length=1, max_length=64)]
HOUR_MS: Final = 3_600_000

_Words = Annotated[str, Meta(max_length=512)]


class PayoutDestinationSet(Event, frozen=True, kw_only=True, tag="payout.destination_set.v1"):
    """Where a node's money goes from now on."""

    at_ms: int
    previous: Previous = ""
    node: Token
    driver: DriverName
    address: Annotated[str, Meta(min_length=1, max_length=512)]
    by: _Words = ""


class PayoutPolicySet(Event, frozen=True, kw_only=True, tag="payout.policy_set.v1"):
    """When ledgers request payouts by themselves, of one node or of all; the newest for these and a currency counts."""

    at_ms: int
    previous: Previous = ""
    node: Token | None = None
    """None: of each node for which nothing else was said in this currency."""
    currency: Currency
    is_on: bool = True
    least_nano: NotNegative = 0
    """Less is left where it is."""
    step_nano: Annotated[int, Meta(ge=1, le=2**63 - 1)] = 1
    """What is requested is a multiple of this, rounded down: of what the way out can express."""
    every_ms: Annotated[int, Meta(ge=HOUR_MS, le=2**53 - 1)] = 7 * 24 * HOUR_MS
    """How long after the last request, whoever made it, another may follow."""
    driver: DriverName | None = None
    """Only of nodes whose money goes this way; None: whichever way it goes."""
    by: _Words = ""


class PayoutRequested(Event, frozen=True, kw_only=True, tag="payout.requested.v1"):
    """An amount is set aside to be paid out: pending."""

    at_ms: int
    previous: Previous = ""
    payout: _Id
    node: Token
    driver: DriverName
    address: Annotated[str, Meta(min_length=1, max_length=512)]
    amount_nano: NotNegative
    """From ``node:`` to ``paying:``."""
    currency: Currency


class PayoutSent(Event, frozen=True, kw_only=True, tag="payout.sent.v1"):
    """Whatever is handed over from here on is this, and nothing else: stored before it is handed over."""

    at_ms: int
    previous: Previous = ""
    payout: _Id
    reference: Annotated[str, Meta(max_length=128)]
    body: Annotated[bytes, Meta(max_length=8192)] = b""
    place: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    """In the order of the paying account's transactions: an Ethereum nonce."""


class PayoutReplaced(Event, frozen=True, kw_only=True, tag="payout.replaced.v1"):
    """In the place of what was not taken this is handed over, stored before it is; the other may be taken all the same.

    It has the same place in the order of the paying account's transactions: at most one of them is ever taken.
    """

    at_ms: int
    previous: Previous = ""
    payout: _Id
    reference: Annotated[str, Meta(max_length=128)]
    body: Annotated[bytes, Meta(max_length=8192)] = b""
    place: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None


class PayoutConfirmed(Event, frozen=True, kw_only=True, tag="payout.confirmed.v1"):
    """It has arrived."""

    at_ms: int
    previous: Previous = ""
    payout: _Id
    detail: _Words = ""
    node: Token
    amount_nano: NotNegative
    """From ``paying:`` to ``outside``."""
    currency: Currency


class PayoutFailed(Event, frozen=True, kw_only=True, tag="payout.failed.v1"):
    """It has not been paid and never will be: the node has the amount again."""

    at_ms: int
    previous: Previous = ""
    payout: _Id
    detail: _Words = ""
    node: Token
    amount_nano: NotNegative
    """From ``paying:`` back to ``node:``."""
    currency: Currency


PayoutEvent = (
    PayoutDestinationSet
    | PayoutPolicySet
    | PayoutRequested
    | PayoutSent
    | PayoutReplaced
    | PayoutConfirmed
    | PayoutFailed
)
"""All that ``books.payouts`` may hold."""
