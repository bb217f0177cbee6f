"""Money that leaves the ledger: what a payout is, and what its events add up to."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from streams.billing.money import decimal_of
from streams.tokens import Token

DriverName = Literal["file", "webhook", "erc20"]
"""Ways by which money leaves the ledger."""


class Payout(Struct, frozen=True, kw_only=True):
    """One amount on its way from a node's account to an address outside."""

    id: str
    node: Token
    amount_nano: int
    currency: str
    driver: DriverName
    address: str
    """Where to, in the driver's canonical form."""

    @property
    def payee(self) -> str:
        """The ledger account that it is taken from."""
        return f"node:{self.node}"

    @property
    def amount_text(self) -> str:
        """The amount as a decimal number, never rounded."""
        return decimal_of(self.amount_nano)
