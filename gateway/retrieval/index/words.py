"""What BM25 looks at: the words of a text without their endings, as numbers, each with a weight.

Qdrant's own model of them, computed here; a server gets the numbers. How rare a word is, Qdrant counts itself.
"""

from __future__ import annotations

from typing import Final

from qdrant_edge import Bm25, Bm25Config, DisabledStemmer

from gateway.retrieval.index.points import SparseWords

_PASSAGE_WORDS: Final = 110.0
"""Of a passage of usual length, without those that say nothing (`the`, `of`)."""
_NO_LANGUAGE: Final = "none"


class Words:
    """Turns texts into weighted words."""

    def __init__(self, language: str = "english") -> None:
        """Drop the endings and the empty words of ``language``; with ``none`` every word counts as it is written.

        Raises:
            ValueError: if the language is not known.
        """
        if language == _NO_LANGUAGE:
            config = Bm25Config(avg_len=_PASSAGE_WORDS, language=_NO_LANGUAGE, stemmer=DisabledStemmer())
        else:
            config = Bm25Config(avg_len=_PASSAGE_WORDS, language=language)
        self._model = Bm25(config)

    def of_passage(self, text: str) -> SparseWords:
        """Weigh the words of a passage by how often they are in it, and how long it is."""
        words = self._model.embed_document(text)
        return SparseWords(words.indices, words.values)

    def of_query(self, text: str) -> SparseWords:
        """Return the words of a query, each once."""
        words = self._model.embed_query(text)
        return SparseWords(words.indices, words.values)
