"""The part of the event catalogue that the book of payouts holds (``books.payouts`` on BILLING).

One chain for all of them: whoever prepares a payout must know which others are prepared, so that two are never given
the same place in a chain's order of transactions.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from streams.billing_events import Previous
from streams.event import Event
from streams.money import Currency, NotNegative
from streams.payouts import DriverName
from streams.tokens import Token

_Id = Annotated[str, Meta(min_length=1, max_length=64)]
_Words = Annotated[str, Meta(max_length=512)]


class PayoutDestinationSet(Event, frozen=True, kw_only=True, tag="payout.destination_set.v1"):
    """Where a node's money goes from now on."""

    at_ms: int
    previous: Previous = ""
    node: Token
    driver: DriverName
    address: Annotated[str, Meta(min_length=1, max_length=512)]
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


PayoutEvent = PayoutDestinationSet | PayoutRequested | PayoutSent | PayoutConfirmed | PayoutFailed
"""All that ``books.payouts`` may hold."""
