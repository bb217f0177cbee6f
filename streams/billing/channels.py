"""Who sends what where about money: a part of ``streams.channels``."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final, get_args

from streams import topology
from streams.billing import events, messages
from streams.billing.subjects import LedgerVerb, account_chain, book_chain, ledger_api
from streams.channel import Channel, Kinds, Reply, Sender
from streams.payouts.events import PayoutEvent
from streams.rewards.events import RewardEvent

if TYPE_CHECKING:
    from collections.abc import Callable

BILLING_PARAMETERS: Final = {"book": "`prices`, `sealed`, `rewards` or `payouts`."}
_BOOKS: Final[Kinds] = (events.PricesSet, events.PeriodSealed, *get_args(RewardEvent), *get_args(PayoutEvent))
_ENTRIES: Final[Kinds] = (events.LedgerPosted, events.LedgerSuspended)


def _stored(name: str, address: str, documented: Callable[..., Any], kinds: Kinds) -> Channel:
    return Channel(
        name=name,
        address=address,
        account="CORE",
        description=inspect.getdoc(documented) or "",
        senders=(Sender("service", kinds),),
        receivers=("service",),
        stream=topology.BILLING,
    )


def _asked(verb: LedgerVerb, question: type[Any], answers: Kinds) -> Channel:
    return Channel(
        name=f"ledger_{verb}",
        address=ledger_api(verb),
        account="CORE",
        description=inspect.getdoc(question) or "",
        senders=(Sender("service", (question,)),),
        receivers=("service",),
        reply=Reply("ledger_inbox", (*answers, messages.LedgerRefusal)),
    )


_ANSWERS: Final[Kinds] = (
    *(messages.Held, messages.HoldRefused, messages.UsagePage, messages.Balance),
    *(messages.PricesShown, messages.LedgerRefusal),
)

BILLING_CHANNELS: Final[tuple[Channel, ...]] = (
    _stored("billing", "billing.{account}", account_chain, (*_ENTRIES, events.PlanSet)),
    _stored("books", "books.{book}", book_chain, _BOOKS),
    _asked("hold", messages.HoldWanted, (messages.Held, messages.HoldRefused)),
    _asked("usage", messages.UsageWanted, (messages.UsagePage,)),
    _asked("balance", messages.BalanceWanted, (messages.Balance,)),
    _asked("prices", messages.PricesWanted, (messages.PricesShown,)),
    Channel(
        name="ledger_inbox",
        address="_INBOX.svc.{reply}",
        account="CORE",
        description="Where services receive the ledger's answers.",
        senders=(Sender("service", _ANSWERS),),
        receivers=("service",),
    ),
)
"""Every channel about money."""
