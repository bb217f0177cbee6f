"""Vectors of one shelf in memory, compared by Faiss: all of them, by their inner product, 16 bits a number.

Needs the package ``faiss-cpu`` (extra ``rag``), which brings numpy.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from gateway.retrieval.index.passage_table import Row

_HALF_BYTES: Final = 2
_AT_ONCE: Final = 4096
"""Vectors that are read in one go: 6 MiB of 384 numbers."""


class FaissVectors:
    """Vectors by the numbers that stand for their passages. Faiss has no types: ``Any`` ends here."""

    def __init__(self, library: Any, dimensions: int) -> None:
        """Hold none yet; ``library`` is what `load_faiss` returns."""
        self._library = library
        self._dimensions = dimensions
        flat = library.IndexScalarQuantizer(dimensions, library.ScalarQuantizer.QT_fp16, library.METRIC_INNER_PRODUCT)
        self._index = library.IndexIDMap(flat)
        self._ids: set[int] = set()

    @property
    def size_bytes(self) -> int:
        """How much memory the vectors take."""
        return len(self._ids) * self._dimensions * _HALF_BYTES

    def put(self, ids: Sequence[int], vectors: Sequence[bytes]) -> None:
        """Add vectors as `packed` gives them, in the place of those of the same ids."""
        self.remove(ids)
        numbers = np.frombuffer(b"".join(vectors), dtype="<f2").astype(np.float32)
        self._index.add_with_ids(numbers.reshape(len(ids), self._dimensions), np.array(ids, dtype=np.int64))
        self._ids.update(ids)

    def fill(self, rows: Iterable[Row]) -> None:
        """Add all of these."""
        ids: list[int] = []
        vectors: list[bytes] = []
        for row in rows:
            ids.append(row.id)
            vectors.append(row.vector)
            if len(ids) == _AT_ONCE:
                self.put(ids, vectors)
                ids, vectors = [], []
        if ids:
            self.put(ids, vectors)

    def remove(self, ids: Collection[int]) -> None:
        """Remove those of these that are there; all others are moved together, so it is not done for nothing."""
        gone = self._ids.intersection(ids)
        if gone:
            self._index.remove_ids(np.array(sorted(gone), dtype=np.int64))
            self._ids -= gone

    def near(self, vector: bytes, limit: int, among: Collection[int] | None = None) -> dict[int, float]:
        """Return the ids of the vectors most like this one (32-bit floats), and how alike they are."""
        most = min(limit, len(self._ids if among is None else among))
        if not most:
            return {}
        wanted: Any = None
        if among is not None:
            selector = self._library.IDSelectorBatch(np.array(list(among), dtype=np.int64))
            wanted = self._library.SearchParameters(sel=selector)
        scores, ids = self._index.search(_unit(vector).reshape(1, -1), most, params=wanted)
        # Where there are fewer than asked for, Faiss fills up with -1.
        return {int(found): float(score) for found, score in zip(ids[0], scores[0], strict=True) if found >= 0}


def load_faiss() -> Any:
    """Return the module.

    Raises:
        ImportError: if the package is not installed.
    """
    with warnings.catch_warnings():
        # Of its generated types, from Python 3.12 on.
        warnings.simplefilter("ignore", DeprecationWarning)
        import faiss
    return faiss


def packed(vector: bytes) -> bytes:
    """Return a vector of 32-bit floats at length 1, with 16 bits a number."""
    return _unit(vector).astype("<f2").tobytes()


def _unit(vector: bytes) -> np.ndarray[Any, np.dtype[np.float32]]:
    numbers = np.frombuffer(vector, dtype="<f4").astype(np.float32)
    length = np.float32(np.linalg.norm(numbers))
    return numbers / length if length else numbers
