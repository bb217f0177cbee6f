"""Amounts and accounts of the ledger as values. An amount is a whole number of 10^-9 units of a currency (ADR 22)."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, NamedTuple, get_args

from msgspec import Meta

from streams.errors import InvalidAmount, InvalidLedgerAccount, InvalidToken
from streams.tokens import Token, token

NANO_PER_UNIT: Final = 10**9
MOST_NANO: Final = 2**63 - 1
PPM: Final = 1_000_000
"""A share of the whole is given in parts per million."""

Nano = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
"""An amount; negative where money leaves an account."""
NotNegative = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Share = Annotated[int, Meta(ge=0, le=PPM)]
Currency = Annotated[str, Meta(pattern="^[A-Z][A-Z0-9]{2,7}$", max_length=8)]
"""A code such as ``EUR`` or ``PEAQ``; what it is worth is nothing that the mesh knows."""

NamedKind = Literal["user", "held", "node", "paying"]
"""``user``: what an account may spend. ``held``: of that, what running tasks may cost. ``node``: what a node has
earned. ``paying``: of that, what is on its way out."""

PlainKind = Literal["fees", "rounding", "suspense", "outside", "rewards"]
"""``fees``: the operator's. ``rounding``: what could not be split. ``suspense``: what nobody can say whose it is.
``outside``: where deposits come from and payouts go. ``rewards``: what rewards were paid from."""

AccountText = Annotated[
    str,
    Meta(pattern="^((user|held|node|paying):[A-Za-z0-9_-]{1,64}|fees|rounding|suspense|outside|rewards)$"),
]
"""A ledger account as it stands in an entry: ``user:acme``, ``fees``."""

_NAMED: Final[dict[str, NamedKind]] = {kind: kind for kind in get_args(NamedKind)}
_PLAIN: Final[dict[str, PlainKind]] = {kind: kind for kind in get_args(PlainKind)}
_DECIMAL: Final = re.compile(r"(-?)([0-9]{1,12})(?:\.([0-9]{1,9}))?")


class LedgerAccount(NamedTuple):
    """One account of the books; ``name`` is empty where there is only one of the kind."""

    kind: NamedKind | PlainKind
    name: str = ""

    def __str__(self) -> str:
        """As it stands in an entry."""
        return f"{self.kind}:{self.name}" if self.name else self.kind

    @classmethod
    def parse(cls, text: str) -> LedgerAccount:
        """Read it back.

        Raises:
            InvalidLedgerAccount: if there is no such account.
        """
        kind, colon, name = text.partition(":")
        named, plain = _NAMED.get(kind), _PLAIN.get(kind)
        try:
            if named is not None and colon:
                return cls(named, token(name))
        except InvalidToken as error:
            raise InvalidLedgerAccount(f"{text[:80]!r} is no account of the ledger: {error}") from error
        if plain is None or colon:
            raise InvalidLedgerAccount(f"{text[:80]!r} is no account of the ledger: try user:NAME, node:NAME or fees")
        return cls(plain)


def user(account: Token) -> LedgerAccount:
    """What an account may spend."""
    return LedgerAccount("user", account)


def held(account: Token) -> LedgerAccount:
    """What running tasks of an account may cost."""
    return LedgerAccount("held", account)


def node(name: Token) -> LedgerAccount:
    """What a node has earned."""
    return LedgerAccount("node", name)


FEES: Final = LedgerAccount("fees")
ROUNDING: Final = LedgerAccount("rounding")
SUSPENSE: Final = LedgerAccount("suspense")
OUTSIDE: Final = LedgerAccount("outside")
REWARDS: Final = LedgerAccount("rewards")


def decimal_of(amount_nano: int) -> str:
    """Write an amount as people do: ``-12.5``, ``0.000000001``; never rounded."""
    whole, rest = divmod(abs(amount_nano), NANO_PER_UNIT)
    sign = "-" if amount_nano < 0 else ""
    fraction = f"{rest:09d}".rstrip("0")
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def nano_of(text: str) -> int:
    """Read an amount as people write it.

    Raises:
        InvalidAmount: if it is none, is finer than 10^-9 of a unit, or too large.
    """
    match = _DECIMAL.fullmatch(text.strip())
    if match is None:
        raise InvalidAmount(f"{text[:40]!r} is no amount: write 12.5, with at most nine digits behind the point")
    sign, whole, fraction = match.groups(default="")
    amount_nano = int(whole) * NANO_PER_UNIT + int(fraction.ljust(9, "0"))
    if amount_nano > MOST_NANO:
        raise InvalidAmount(f"{text[:40]!r} is too large: at most {decimal_of(MOST_NANO)}")
    return -amount_nano if sign else amount_nano
