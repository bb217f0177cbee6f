"""What every way of paying out must be able to do, so that dying at any moment neither pays twice nor never.

A payout is prepared (nothing has left yet), what was prepared is stored on the log, and only then it is handed over,
again and again until somebody says what became of it. So handing over the same thing twice must pay once: a file looks
for the payout's id, a webhook's receiver does, and a chain takes one transaction with one hash once, and of several
with one nonce one.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from datetime import timedelta

    from streams.payouts.payout import DriverName, Payout


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
    is_taken: bool = True
    """False: the other side has it and does nothing with it; something dearer may be handed over in its place."""


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

    async def hand_over(self, payout: Payout, prepared: Prepared, *, before: tuple[Prepared, ...] = ()) -> Outcome:
        """Pay, if that has not been done, and say what became of it. The same twice pays once.

        ``before``: what was handed over for the same place before ``prepared`` replaced it; it may count all the same.

        Raises:
            PayoutError: if it is not known what became of it; it is then tried again.
        """
        ...

    async def replace(self, payout: Payout, handed: tuple[Prepared, ...], *, waited: timedelta) -> Prepared | None:
        """Return what is to be handed over in the place of what is not taken; None: nothing.

        Args:
            payout: which.
            handed: all that was handed over for it, the newest last.
            waited: for how long that newest one.

        Raises:
            PayoutError: if it cannot be prepared now.
        """
        ...
