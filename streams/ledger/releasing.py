"""Holds whose task has no end any more: what was put aside goes back."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from streams.billing.events import Posting, Transaction
from streams.billing.money import held, user
from streams.ledger.chain import KEPT
from streams.ledger.charging import CLOCKS_DIFFER

if TYPE_CHECKING:
    from streams.ledger.chain import ChainState, OpenHold
    from streams.tokens import Token

_MILLISECOND: Final = timedelta(milliseconds=1)


def given_up_after(tasks_kept: timedelta | None, ends_kept: timedelta | None) -> timedelta:
    """How old a hold must be for no end to come any more.

    A task can end as long as it is kept, and its end can come as long as that is; clocks may differ by a day. Where
    either is kept for ever (None): as long as a ledger remembers what it has settled.
    """
    return KEPT if tasks_kept is None or ends_kept is None else tasks_kept + ends_kept + CLOCKS_DIFFER


def old_holds(chain: ChainState, *, now_ms: int, after: timedelta, most: int) -> list[tuple[str, OpenHold]]:
    """Return the oldest holds of a chain that are older than ``after``, ``most`` at most, with their tasks."""
    before_ms = now_ms - after // _MILLISECOND
    old = [(task, hold) for task, hold in chain.holds.items() if hold.at_ms < before_ms]
    return sorted(old, key=_by_age)[:most]


def release(account: Token, task: str, hold: OpenHold, *, at_ms: int) -> Transaction:
    """Return the transaction that settles a task by giving back what was held for it."""
    moved = ((held(account), -hold.amount_nano), (user(account), hold.amount_nano))
    return Transaction(
        id=f"release:{task}",
        kind="release",
        at_ms=at_ms,
        currency=hold.currency,
        postings=tuple(Posting(account=str(whose), amount_nano=amount) for whose, amount in moved if amount),
        task=task,
    )


def _by_age(item: tuple[str, OpenHold]) -> tuple[int, str]:
    task, hold = item
    return hold.at_ms, task
