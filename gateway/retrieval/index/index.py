"""What an index of passages does, whatever keeps it: one contract, of which each driver passes the same tests."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from streams.stores.passages import Passage, Place
    from streams.stores.subjects import StoreKey
    from streams.tokens import Token

MOST_MATCHES: Final = 1000
"""That are asked for at once."""

_MODEL_DIGITS: Final = 16


class Origin(NamedTuple):
    """What a passage is of: a file, and which asking for its passages (``streams.stores.events``)."""

    file: Token
    generation: int


class Match(NamedTuple):
    """A passage that was found. Scores of one way of searching compare with each other, and with nothing else."""

    origin: Origin
    number: int
    score: float
    text: str
    place: Place


class Index(Protocol):
    """Passages on shelves. A shelf has the vectors of one store by one model, so none is searched with another's.

    Adding and removing may be repeated at will. What was added is kept when ``add`` returns, also by a crash.
    Matches come by falling score, and where it is equal by file, generation and number.
    """

    async def shelves(self) -> frozenset[str]:
        """Return the names of all shelves.

        Raises:
            IndexUnavailable: if the index cannot be reached or read; so do all methods.
        """
        ...

    async def add(self, shelf: str, origin: Origin, passages: Sequence[Passage]) -> None:
        """Put passages on a shelf, which is made if it is new. One that is there is replaced.

        Raises:
            WrongVectors: if they have another number of dimensions than those that are there.
        """
        ...

    async def remove(self, shelf: str, origins: Collection[Origin]) -> None:
        """Take all passages of these from a shelf."""
        ...

    async def drop(self, shelf: str) -> None:
        """Take a shelf away."""
        ...

    async def held(self, shelf: str) -> Mapping[Origin, int]:
        """Return what is on a shelf, and how many passages of each."""
        ...

    async def near(
        self, shelf: str, vector: bytes, limit: int, among: Collection[Origin] | None = None
    ) -> tuple[Match, ...]:
        """Return the passages whose vectors are most like ``vector`` (cosine), of ``among`` if that is given.

        A shelf that is not there has none.

        Raises:
            WrongVectors: if it has another number of dimensions than those of the shelf.
        """
        ...

    async def worded(
        self, shelf: str, text: str, limit: int, among: Collection[Origin] | None = None
    ) -> tuple[Match, ...]:
        """Return the passages that share the rarest words with ``text`` (BM25), of ``among`` if that is given.

        A shelf that is not there has none.
        """
        ...

    async def aclose(self) -> None:
        """Let go of files and connections."""
        ...


def shelf_name(store: StoreKey, model: str) -> str:
    """Return what the shelf of a store's vectors by one model is called; fit for a folder."""
    return f"{store.account}.{store.store}.{hashlib.sha256(model.encode()).hexdigest()[:_MODEL_DIGITS]}"


def in_order(matches: Sequence[Match]) -> tuple[Match, ...]:
    """Sort as the contract says."""
    return tuple(sorted(matches, key=lambda match: (-match.score, match.origin, match.number)))
