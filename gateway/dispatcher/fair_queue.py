"""A queue that is fair between accounts: each account's tasks keep their order, and the accounts take turns."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")


class FairQueue(Generic[T]):
    """First come, first served within an account; one at a time from each account that waits."""

    def __init__(self) -> None:
        """Start empty."""
        self._waiting: OrderedDict[str, deque[T]] = OrderedDict()

    def __len__(self) -> int:
        """How many wait, over all accounts."""
        return sum(len(own) for own in self._waiting.values())

    def add(self, account: str, item: T) -> None:
        """Put an item behind all others of its account."""
        self._waiting.setdefault(account, deque()).append(item)

    def first(self) -> T | None:
        """Return who is next, and leave it there."""
        return next((own[0] for own in self._waiting.values()), None)

    def in_order(self) -> Iterator[tuple[str, T]]:
        """Everybody who waits with its account, in the order in which they are served if nobody else comes.

        To be begun anew whenever the queue was changed.
        """
        longest = max(map(len, self._waiting.values()), default=0)
        for place in range(longest):
            for account, own in self._waiting.items():
                if place < len(own):
                    yield account, own[place]

    def take(self) -> T | None:
        """Remove and return who is next; its account then waits behind all others."""
        account = next(iter(self._waiting), None)
        if account is None:
            return None
        item = self._waiting[account][0]
        self.serve(account, item)
        return item

    def serve(self, account: str, item: T) -> None:
        """Remove an item whose turn it is; its account then waits behind all others."""
        self.remove(account, item)
        if account in self._waiting:
            self._waiting.move_to_end(account)

    def remove(self, account: str, item: T) -> None:
        """Take out an item that no longer waits; nothing happens if it is not there."""
        own = self._waiting.get(account)
        if own is None or item not in own:
            return
        own.remove(item)
        if not own:
            del self._waiting[account]

    def position(self, account: str, item: T) -> int:
        """How many are served before ``item`` if nobody else comes; 0 if it is next or not there."""
        own = self._waiting.get(account)
        if own is None or item not in own:
            return 0
        place = own.index(item)
        before = list(self._waiting).index(account)
        return sum(
            min(len(others), place + (1 if index < before else 0)) if name != account else place
            for index, (name, others) in enumerate(self._waiting.items())
        )
