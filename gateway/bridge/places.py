"""How many websockets one account may have open at a gateway, so that no account takes the places of all others."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from gateway.limits.meter import Shortage
from gateway.limits.store import Owner
from gateway.limits.ticket import LimitReached
from streams.access.fold import LOCAL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.tokens import Token

_COME_BACK_MS: Final = 5000


class Places:
    """Counts for one gateway."""

    def __init__(self, usual: int | None, of: Mapping[str, int | None]) -> None:
        """Let each account have ``usual`` of them, or as many as ``of`` says; None: as many as there are.

        The account of whoever runs the mesh has only a limit that names it.
        """
        self._usual = usual
        self._of = of
        self._taken: Counter[Token] = Counter()

    def take(self, account: Token) -> None:
        """Take one.

        Raises:
            LimitReached: if the account has all that it may have.
        """
        limit = self._of.get(account, None if account == LOCAL else self._usual)
        if limit is not None and self._taken[account] >= limit:
            raise LimitReached(Shortage(Owner("account", account), "websockets", limit, 0, 1, _COME_BACK_MS))
        self._taken[account] += 1

    def taken(self, account: Token) -> int:
        """How many an account has open."""
        return self._taken[account]

    def give_back(self, account: Token) -> None:
        """Give one back."""
        self._taken[account] -= 1
        if not self._taken[account]:
            del self._taken[account]


class Place:
    """That of one connection, which has none before anybody has said whose it is."""

    def __init__(self, places: Places) -> None:
        """Begin without."""
        self._places = places
        self._account: Token | None = None

    def take(self, account: Token) -> None:
        """Be this account's from now on, instead of another's.

        Raises:
            LimitReached: if the account has no place left; nothing changes then.
        """
        if account == self._account:
            return
        self._places.take(account)
        self.give_back()
        self._account = account

    def give_back(self) -> None:
        """Be nobody's; twice is fine."""
        if self._account is not None:
            self._places.give_back(self._account)
            self._account = None
