"""One chain of BILLING, read from its first event, and written behind a fence.

Each event names the hash of the one before it (ADR 22), so whoever writes must have read. Whoever was overtaken looks
again and decides anew; so does whoever does not know whether an event was stored.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec.structs import replace

from mesh.bus.appends import Fence
from mesh.errors import FenceMismatch, PublishUnknown, StoreFull
from mesh.history.ordered import OrderedReader
from streams.codec import decode_billing_event, encode
from streams.errors import UndecodableEvent
from streams.ledger.fold import digest_of_body
from streams.topology import BILLING

if TYPE_CHECKING:
    from collections.abc import Callable

    from mesh.bus.link import Link
    from streams.billing.log import AnyBillingEvent
    from streams.billing.subjects import Chain

    Decide = Callable[["Book"], AnyBillingEvent | None]
    """Gets the chain as it stands; returns what is to be added, or None if nothing is."""

_WAIT_S: Final = 5.0
_TRIES: Final = 40
_PAUSE_S: Final = 0.05


class Book(NamedTuple):
    """A chain as it stands."""

    events: tuple[AnyBillingEvent, ...] = ()
    last_sequence: int = 0
    digest: str = ""
    """SHA-256 of the body of the last event, in hex; empty: there is none."""


async def read_book(core: Link, chain: Chain) -> Book:
    """Read a chain, from its first event to the one that stands last now.

    Raises:
        BusError: if it cannot be read.
        UndecodableEvent: if something stands there that is no event, or that a newer version wrote.
    """
    book = Book()
    events: list[AnyBillingEvent] = []
    async with OrderedReader(core, BILLING, filters=[chain.subject]) as reader:
        while not reader.is_caught_up:
            for recorded in await reader.take(wait_s=_WAIT_S):
                events.append(decode_billing_event(recorded.data))
                book = Book(last_sequence=recorded.sequence, digest=digest_of_body(recorded.data))
    return book._replace(events=tuple(events))


async def write_book(core: Link, chain: Chain, decide: Decide, *, known: Book | None = None) -> Book:
    """Add to a chain what ``decide`` makes of it; returns how it stood when that was decided, with what was added.

    Args:
        core: a connection in CORE.
        chain: which.
        decide: gets the chain as it stands.
        known: how it stood last, so that it is read only where it has changed since.

    Raises:
        BusError: if it cannot be read, or stored now.
        UndecodableEvent: if something stands there that this version cannot read, or what is to be added is no event:
            then nothing is, since nobody could read the chain any more.
    """
    for _ in range(_TRIES):
        book, known = known or await read_book(core, chain), None
        event = decide(book)
        if event is None:
            return book
        event = replace(event, previous=book.digest)
        body = readable(event, chain)
        try:
            sequence = await core.append(chain.subject, body, fence=Fence(chain.subject, book.last_sequence))
        except StoreFull:
            raise
        except (FenceMismatch, PublishUnknown):
            # Two that have been overtaken by each other do not try again at the same moment.
            await asyncio.sleep(_PAUSE_S * random.random())  # noqa: S311 - spreads load, guards nothing
        else:
            return Book((*book.events, event), sequence, digest_of_body(body))
    raise PublishUnknown(f"it is not known whether {chain.subject} has the change: look, and repeat it if not")


def readable(event: AnyBillingEvent, chain: Chain) -> bytes:
    """Return an event as it is stored.

    Raises:
        UndecodableEvent: if it could not be read again: what a person has typed is out of its bounds.
    """
    body = encode(event)
    try:
        decode_billing_event(body)
    except UndecodableEvent as error:
        raise UndecodableEvent(f"that cannot stand in {chain.subject}, and is not written: {error}") from error
    return body
