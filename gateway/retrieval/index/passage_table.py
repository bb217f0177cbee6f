"""Passages of one shelf with their vectors in a file of SQLite: what an index that lives in memory is read from.

Vectors have length 1 and 16 bits a number.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from gateway.retrieval.index.points import match_of, origin_text, payload_of, point_id, read_origin

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from gateway.retrieval.index.index import Match, Origin
    from streams.stores.passages import Passage

_ID_BYTES: Final = 8
_PRAGMAS: Final = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;"
_SCHEMA: Final = """
BEGIN;
PRAGMA user_version = {dimensions:d};
CREATE TABLE passage (id INTEGER PRIMARY KEY, origin TEXT NOT NULL, payload BLOB NOT NULL, vector BLOB NOT NULL);
CREATE INDEX by_origin ON passage (origin);
COMMIT;
"""
_AMONG: Final = "origin IN (SELECT value FROM json_each(?))"


class Row(NamedTuple):
    """A vector and the number that stands for its passage."""

    id: int
    vector: bytes


class PassageTable:
    """One shelf on the disk. All methods raise ``sqlite3.Error`` where the file cannot be used."""

    def __init__(self, path: Path, dimensions: int | None = None) -> None:
        """Open ``path``, which is new where ``dimensions`` says how long its vectors are; used by one thread."""
        self._connection = sqlite3.connect(path)
        try:
            self._connection.executescript(_PRAGMAS)
            if dimensions is not None:
                self._connection.executescript(_SCHEMA.format(dimensions=dimensions))
            self.dimensions: int = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if not self.dimensions:
                # A crash came before the schema, which is made whole or not at all.
                raise sqlite3.DatabaseError(f"{path} has no passages")
        except BaseException:
            self._connection.close()
            raise

    def put(self, origin: Origin, passages: Sequence[Passage], vectors: Sequence[bytes]) -> tuple[int, ...]:
        """Store passages, over those that are there; returns their ids. On the disk when it returns."""
        ids = tuple([row_id(origin, passage.number) for passage in passages])
        name = origin_text(origin)
        payloads = [msgspec.json.encode(payload_of(origin, passage)) for passage in passages]
        rows = zip(ids, [name] * len(ids), payloads, vectors, strict=True)
        with self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO passage VALUES (?, ?, ?, ?)", rows)
        return ids

    def delete(self, origins: Collection[Origin]) -> None:
        """Delete all passages of these."""
        with self._connection:
            self._connection.execute(f"DELETE FROM passage WHERE {_AMONG}", (_names(origins),))  # noqa: S608 - a constant

    def ids_of(self, origins: Collection[Origin]) -> list[int]:
        """Return the ids of all passages of these."""
        found = self._connection.execute(f"SELECT id FROM passage WHERE {_AMONG}", (_names(origins),))  # noqa: S608 - a constant
        return [row[0] for row in found]

    def rows(self) -> Iterator[Row]:
        """Read all vectors."""
        return (Row(*row) for row in self._connection.execute("SELECT id, vector FROM passage"))

    def counts(self) -> Mapping[Origin, int]:
        """Count the passages of each origin."""
        found = self._connection.execute("SELECT origin, count(*) FROM passage GROUP BY origin")
        return {read_origin(origin): count for origin, count in found}

    def matches(self, scores: Mapping[int, float]) -> list[Match]:
        """Read the passages of these ids; those that are not there are left out."""
        ids = msgspec.json.encode(list(scores)).decode()
        found = self._connection.execute(
            "SELECT id, payload FROM passage WHERE id IN (SELECT value FROM json_each(?))", (ids,)
        )
        return [match_of(msgspec.json.decode(payload), scores[row]) for row, payload in found]

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def row_id(origin: Origin, number: int) -> int:
    """Return the number that stands for a passage: the same each time, 63 bits of its point's."""
    return int.from_bytes(point_id(origin, number).bytes[:_ID_BYTES], "big") >> 1


def _names(origins: Collection[Origin]) -> str:
    return msgspec.json.encode([origin_text(origin) for origin in origins]).decode()
