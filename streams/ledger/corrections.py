"""What lies in suspense, and what a person says becomes of it: each entry is corrected once, and as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from streams.billing.events import LedgerPosted, LedgerSuspended, Posting, SuspenseCode, Transaction
from streams.billing.money import FEES, SUSPENSE, LedgerAccount, decimal_of, nano_of, user
from streams.errors import InvalidAmount, InvalidLedgerAccount

if TYPE_CHECKING:
    from streams.billing.log import AnyBillingEvent
    from streams.billing.subjects import Chain
    from streams.tokens import Token

BACK: Final = "back"
"""To the account that it came from."""

_SUSPENSE: Final = str(SUSPENSE)


class Part(NamedTuple):
    """Where a part of an entry goes; ``amount_nano`` None: all that is left of it."""

    account: LedgerAccount
    amount_nano: int | None = None


class SuspenseEntry(Struct, frozen=True, kw_only=True):
    """One thing that the rule had no answer to."""

    sequence: int
    at_ms: int
    account: str
    """Whose chain it stands on."""
    id: str
    code: SuspenseCode
    message: str
    task: str | None
    node: str | None
    currency: str
    amount_nano: int
    """What was put in suspense; 0: nothing was held."""
    claimed_nano: int | None
    correction: Transaction | None = None
    """What became of it."""

    @property
    def lies_nano(self) -> int:
        """What still lies there."""
        return self.amount_nano if self.correction is None else 0


class SuspenseBook:
    """Every entry that ever was in suspense."""

    def __init__(self) -> None:
        """Begin with none."""
        self._entries: dict[tuple[str, str], SuspenseEntry] = {}

    @property
    def newest_first(self) -> list[SuspenseEntry]:
        """All entries."""
        return sorted(self._entries.values(), key=_by_sequence, reverse=True)

    def entry(self, account: str, entry_id: str) -> SuspenseEntry | None:
        """Return one."""
        return self._entries.get((account, entry_id))

    def take(self, sequence: int, chain: Chain, event: AnyBillingEvent) -> list[str]:
        """Take in an event of the books; returns what is wrong with its corrections."""
        if chain.kind != "billing":
            return []
        if isinstance(event, LedgerSuspended):
            entry = _entry(sequence, chain.name, event)
            self._entries.setdefault((chain.name, entry.id), entry)
        if not isinstance(event, LedgerPosted):
            return []
        faults = (self._correct(chain.name, each) for each in event.transactions if each.kind == "correction")
        return [fault for fault in faults if fault is not None]

    def _correct(self, account: str, correction: Transaction) -> str | None:
        place = account, correction.id.partition(":")[2]
        entry = self._entries.get(place)
        if entry is None:
            return f"{correction.id} corrects what is not in suspense"
        if entry.correction is not None:
            # The fold says that it stands there twice.
            return None
        self._entries[place] = replace(entry, correction=correction)
        taken = -_of_suspense(correction)
        if (taken, correction.currency) == (entry.amount_nano, entry.currency):
            return None
        return (
            f"{correction.id} takes {taken} nano {correction.currency} out of suspense, where "
            f"{entry.amount_nano} nano {entry.currency} lay for it"
        )


def correction_id(entry_id: str) -> str:
    """The id of the one transaction that corrects an entry."""
    return f"correction:{entry_id}"


def read_part(text: str, account: Token) -> Part:
    """Read ``back``, ``fees`` or ``node:<node>``, each perhaps with ``=AMOUNT``.

    Raises:
        InvalidLedgerAccount: if money in suspense cannot go there.
        InvalidAmount: if the amount is none.
    """
    where, equals, amount = text.partition("=")
    if where == BACK:
        target = user(account)
    else:
        target = LedgerAccount.parse(where)
        if target != FEES and target.kind != "node":
            raise InvalidLedgerAccount(f"what lies in suspense goes {BACK}, to fees or to node:NAME, not to {where!r}")
    return Part(target, nano_of(amount) if equals else None)


def correct(entry: SuspenseEntry, parts: tuple[Part, ...], *, at_ms: int, by: str, note: str) -> Transaction:
    """Return the transaction that takes an entry out of suspense, all of it.

    Raises:
        InvalidAmount: if nothing lies there, or the parts are not the whole.
    """
    amounts = _split(entry, parts)
    given = (Posting(account=str(part.account), amount_nano=amount) for part, amount in amounts if amount)
    return Transaction(
        id=correction_id(entry.id),
        kind="correction",
        at_ms=at_ms,
        currency=entry.currency,
        postings=(Posting(account=_SUSPENSE, amount_nano=-entry.amount_nano), *given),
        task=entry.task,
        by=by,
        note=note,
    )


def _split(entry: SuspenseEntry, parts: tuple[Part, ...]) -> list[tuple[Part, int]]:
    whole = entry.amount_nano
    if whole == 0:
        raise InvalidAmount(f"nothing was held for {entry.id}, so nothing of it lies in suspense")
    open_parts = sum(part.amount_nano is None for part in parts)
    named = [part.amount_nano for part in parts if part.amount_nano is not None]
    rest = whole - sum(named)
    if any(amount <= 0 for amount in named) or len({part.account for part in parts}) < len(parts):
        raise InvalidAmount("each part must be more than nothing, and go somewhere else")
    if rest < 0 or open_parts > 1 or (open_parts == 0) != (rest == 0):
        raise InvalidAmount(
            f"{decimal_of(whole)} {entry.currency} lie there for {entry.id}: the parts must be all of it, and one of "
            "them may be without an amount, for what is left"
        )
    return [(part, rest if part.amount_nano is None else part.amount_nano) for part in parts]


def _entry(sequence: int, account: Token, event: LedgerSuspended) -> SuspenseEntry:
    transaction = event.transaction
    return SuspenseEntry(
        sequence=sequence,
        at_ms=event.at_ms,
        account=account,
        id=transaction.id,
        code=event.code,
        message=event.message,
        task=transaction.task,
        node=event.node,
        currency=transaction.currency,
        amount_nano=_of_suspense(transaction),
        claimed_nano=event.claimed_nano,
    )


def _of_suspense(transaction: Transaction) -> int:
    return sum(posting.amount_nano for posting in transaction.postings if posting.account == _SUSPENSE)


def _by_sequence(entry: SuspenseEntry) -> int:
    return entry.sequence
