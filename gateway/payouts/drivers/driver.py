"""What every way of paying out must be able to do, so that dying at any moment neither pays twice nor never.

A payout is prepared (nothing has left yet), what was prepared is stored on the log, and only then it is handed over,
again and again until somebody says what became of it. So handing over the same thing twice must pay once: a file looks
for the payout's id, a webhook's receiver does, and a chain takes one transaction with one hash once.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from streams.payouts import DriverName, Payout


class Fate(StrEnum):
    """What became of a payout that was handed over."""

    UNDERWAY = "underway"
    """Nobody knows yet: hand it over again later, or ask again."""
    CONFIRMED = "confirmed"
    FAILED = "failed"
    """It has not been paid and will not be: the amount goes back to the payee's account."""


class Prepared(Struct, frozen=True, kw_only=True):
    """What will be handed over, and is stored on the log before that."""

    reference: str
    """What the other side knows the payout by: its id, or the hash of a transaction."""
    body: bytes = b""
    """What is handed over, where it must be the same bytes each time."""
    sequence: int | None = None
    """Its place in the order of the paying account's transactions (an Ethereum nonce), where there is one."""


class Outcome(Struct, frozen=True, kw_only=True):
    """What the other side has said."""

    fate: Fate
    detail: str = ""
    """For a person: why it failed, or what it waits for."""


class PayoutDriver(Protocol):
    """One way of paying out. Raises ``PayoutError`` where the other side cannot be reached or makes no sense."""

    name: ClassVar[DriverName]

    def check_address(self, address: str) -> str:
        """Return an address in its one canonical form.

        Raises:
            PayoutError: if nothing can be paid there.
        """
        ...

    async def prepare(self, payout: Payout, *, underway: tuple[int, ...]) -> Prepared:
        """Get everything ready without paying. ``underway``: sequences of payouts that are prepared and not over.

        Raises:
            PayoutError: if it cannot be prepared now.
        """
        ...

    async def hand_over(self, payout: Payout, prepared: Prepared) -> Outcome:
        """Pay, if that has not been done, and say what became of it. The same twice pays once.

        Raises:
            PayoutError: if it is not known what became of it; it is then tried again.
        """
        ...
