"""What lies in suspense, read from the log, and corrected there by whoever has looked into it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.errors import LedgerError
from gateway.ledger.sealing import read_seals
from mesh.history.ordered import OrderedReader
from streams.billing.events import LedgerPosted
from streams.billing.subjects import account_chain, parse_chain
from streams.codec import decode_billing_event
from streams.errors import StreamsError
from streams.ledger import corrections
from streams.ledger.corrections import SuspenseBook, correction_id
from streams.ledger.periods import ends_ms
from streams.topology import BILLING

if TYPE_CHECKING:
    from gateway.ledger.books import Books
    from mesh.bus.link import Link
    from streams.billing.events import Transaction
    from streams.billing.log import AnyBillingEvent
    from streams.ledger.chain import ChainState
    from streams.ledger.corrections import Part
    from streams.tokens import Token

_WAIT_S: Final = 5.0
_EVERY_ACCOUNT: Final = "billing.*"


async def read_suspense(core: Link, account: Token | None = None) -> SuspenseBook:
    """Read all that ever was in suspense, of one account or of all.

    Raises:
        BusError: if the log cannot be read.
    """
    book = SuspenseBook()
    subject = _EVERY_ACCOUNT if account is None else account_chain(account).subject
    async with OrderedReader(core, BILLING, filters=(subject,)) as reader:
        while not reader.is_caught_up:
            for each in await reader.take(wait_s=_WAIT_S):
                try:
                    chain, event = parse_chain(each.subject), decode_billing_event(each.data)
                except StreamsError:
                    # `ig3 ledger verify` names it.
                    continue
                book.take(each.sequence, chain, event)
    return book


async def correct(
    books: Books, account: Token, entry_id: str, parts: tuple[Part, ...], *, by: str, note: str = ""
) -> bool:
    """Take an entry out of suspense: what lay there goes where ``parts`` says.

    Returns False, and writes nothing, where it was corrected before.

    Raises:
        LedgerError: if there is no such entry.
        InvalidAmount: if nothing lies there, or the parts are not all of it.
        BusError: if it cannot be read, or stored now.
    """
    entry = (await read_suspense(books.core, account)).entry(account, entry_id)
    if entry is None:
        raise LedgerError(f"account {account} has no entry {entry_id} in suspense: `ig3 ledger suspense` lists them")
    seals = await read_seals(books.core)
    # By a clock that is behind it would stand on the invoice of a month that is closed.
    earliest_ms = ends_ms(seals[-1].period) if seals else 0
    mine: Transaction | None = None

    def compose(chain: ChainState, at_ms: int) -> AnyBillingEvent | None:
        nonlocal mine
        at_ms = max(at_ms, earliest_ms)
        if chain.has(correction_id(entry_id)):
            return None
        mine = corrections.correct(entry, parts, at_ms=at_ms, by=by, note=note)
        return LedgerPosted(at_ms=at_ms, previous=chain.digest, transactions=(mine,))

    await books.catch_up()
    await books.write(account_chain(account), compose, by_hand=True)
    stands = (await read_suspense(books.core, account)).entry(account, entry_id)
    return mine is not None and stands is not None and stands.correction == mine
