"""What two questions must have in common besides their vectors, which tell neither 5 kg from 6 kg nor cats from dogs.

Pure, and made of words alone. Words that stand in questions of every kind are light; all others weigh: numbers,
negations, names, units, opposites. Two questions may be alike only where what weighs is the same, in the same order.
That is strict on purpose, since a wrong answer is worse than one that is generated again.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_WORD: Final = re.compile(r"\w+(?:[.,:/'-]\w+)*|[^\w\s.,;:!?\"'()¿¡…-]")
_APOSTROPHE: Final = "\N{RIGHT SINGLE QUOTATION MARK}"
_LIGHT: Final = frozenset(
    {"a", "an", "the", "this", "that", "these", "those", "it", "its", "there", "i", "me", "my", "we", "us", "our"}
    | {"you", "your", "one", "is", "are", "be", "am", "do", "does", "can", "could", "would", "will", "has", "have"}
    | {"of", "to", "for", "in", "on", "at", "by", "and", "as", "so", "if", "with", "about", "between"}
    # Asking, and being polite.
    | {"what", "which", "please", "kindly", "hi", "hello", "hey", "thanks", "thank", "tell", "give", "explain"}
    | {"describe", "want", "like", "know", "mean", "means", "meaning", "definition", "define", "term", "possible"}
    | {"okay", "ok", "located", "go", "goes", "count", "calculate", "compute"}
)
"""English: in other languages every word weighs, so fewer questions are alike there. Nor is anything light that tells
of another time or duty: was, did, should, must, may."""
_ALIKE: Final = {
    "whom": "who",
    "whose": "who",
    "cannot": "not",
    "summarize": "summary",
    "summarise": "summary",
    "wrote": "write",
    "written": "write",
    "differ": "difference",
    "shipping": "ship",
}
_ASKS: Final = frozenset({"who", "when", "where", "why", "how"})
"""What is asked for, wherever in the question it stands."""
_WHETHER: Final = frozenset(
    {"is", "are", "was", "were", "do", "does", "did", "can", "could", "will", "would", "has", "have", "had", "should"}
    | {"must", "may"}
)
"""A question that begins with one of these asks for yes or no."""
_PHRASES: Final = (
    (re.compile(r"^(?:please )?(?:can|could|would|will) you (?:please )?"), ""),
    (re.compile(r"\bwhat (?:is|are) the (?:best )?(?:way|steps|command) to\b"), "how"),
    (re.compile(r"\b(?:at )?what time\b|\b(?:in )?(?:which|what) year\b"), "when"),
    (re.compile(r"\bhow old\b"), "age"),
    (re.compile(r"\bhow (?:tall|high)\b"), "height"),
    (re.compile(r"\bhow far\b"), "distance"),
    (re.compile(r"\bhow fast\b"), "speed"),
    (re.compile(r"\b(what|who|where|how|when)'s\b"), r"\1 is"),
)
_ENDINGS: Final = (("ies", "y"), ("ing", ""), ("ed", ""), ("es", "e"), ("s", ""))
_SHORTEST_STEM: Final = 3


def guard_of(text: str) -> tuple[str, ...]:
    """Return what is asked for and then what weighs, in its order; equal for two questions that may be alike."""
    said = unicodedata.normalize("NFKC", text).casefold().replace(_APOSTROPHE, "'")
    for phrase, instead in _PHRASES:
        said = phrase.sub(instead, said)
    words: list[str] = _WORD.findall(said)
    asks = sorted({_ALIKE.get(word, word) for word in words} & _ASKS)
    if not asks and words and words[0] in _WHETHER:
        asks = ["whether"]
    return (*asks, "?", *filter(None, map(_weighty, words)))


def _weighty(word: str) -> str:
    """What a word adds: its stem; nothing where it is light."""
    if word.endswith("n't"):
        return "not"
    word = _ALIKE.get(word, word)
    return "" if word in _LIGHT or word in _ASKS else _stem(word)


def _stem(word: str) -> str:
    """Take an English ending away: "eggs" is "egg", "walking" is "walk"."""
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST_STEM and not word.endswith("ss"):
            return word.removesuffix(ending) + instead
    return word
