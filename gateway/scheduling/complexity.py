"""How hard a request is taken to be: simple, moderate or hard, by points for what can be seen without a model.

Deterministic, and documented with its errors in docs/placement.md: ``python -m benchmarks.complexity`` measures it on a
labelled set. It reads the last question; a long conversation before it, tools and a schema count as well.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.scheduling.wish import Level
    from streams.tasks.chat import Message

MODERATE_FROM: Final = 1.0
HARD_FROM: Final = 2.75

_READ_CHARS: Final = 2000
"""Of a longer question only the beginning is read; its length counts whole."""

_WORD: Final = re.compile(r"\w+")

_HARD: Final = frozenset(
    [
        "prove",
        "proves",
        "proving",
        "proof",
        "derive",
        "derives",
        "derivation",
        "design",
        "analyse",
        "analyze",
        "implement",
        "optimise",
        "optimize",
        "refactor",
        "debug",
        "architecture",
        "evaluate",
        "argue",
        "argument",
        "construct",
        "formulate",
        "justify",
        "reduction",
        "undecidable",
        "investigation",
        "complexity",
        "tradeoff",
        "counterexample",
        "generalise",
        "generalize",
        "critical",
        "hypothesis",
        "hypotheses",
        "démontre",
        "démontrez",
        "demontre",
        "analysiere",
        "begründe",
        "beweise",
        "demuestra",
        "analiza",
    ]
)
_HARD_PHRASES: Final = ("trade-off", "threat model", "root cause")

_MODERATE: Final = frozenset(
    [
        "explain",
        "compare",
        "summarise",
        "summarize",
        "describe",
        "write",
        "draft",
        "difference",
        "why",
        "advantages",
        "pros",
        "suggest",
        "plan",
        "classify",
        "rewrite",
        "step",
        "steps",
        "example",
        "erkläre",
        "escribe",
        "explique",
        "expliquez",
    ]
)
_MODERATE_PHRASES: Final = ("how do", "how to", "how would", "how should", "give me a", "what should")

_JOINS: Final = frozenset({"and", "then", "und", "et", "y"})
_CODE_BEGINS: Final = ("def ", "class ", "fn ", "func ", "import ", "SELECT ", "Traceback")
_CODE_ENDS: Final = ("{", "}", ";")
_FORMULA: Final = ("=", "^", "∑", "∫", "√", "≤", "≥", "O(")

_LONG_CHARS: Final = (100, 250, 600, 2000, 8000)
_TURNS: Final = 8


def level_of(messages: Sequence[Message], *, has_tools: bool = False, has_schema: bool = False) -> Level:
    """How hard a request is taken to be."""
    points = points_of(messages, has_tools=has_tools, has_schema=has_schema)
    if points < MODERATE_FROM:
        return "simple"
    return "moderate" if points < HARD_FROM else "hard"


def points_of(messages: Sequence[Message], *, has_tools: bool = False, has_schema: bool = False) -> float:
    """The points of a request, from 0 up."""
    question = next((message.content for message in reversed(messages) if message.role == "user"), "")
    text = question[:_READ_CHARS]
    lower = text.lower()
    words = _WORD.findall(lower)
    distinct = set(words)
    hard = len(distinct & _HARD) + sum(phrase in lower for phrase in _HARD_PHRASES)
    moderate = len(distinct & _MODERATE) + sum(phrase in lower for phrase in _MODERATE_PHRASES)
    parts = sum(map(lower.count, ",;:")) + sum(word in _JOINS for word in words) - 2
    return (
        2.0 * min(hard, 3)
        + 1.0 * min(moderate, 2)
        + 0.25 * min(max(parts, 0), 6)
        + 0.75 * sum(len(question) > bound for bound in _LONG_CHARS)
        + 1.0 * _has_code(text)
        + 0.5 * any(sign in text for sign in _FORMULA)
        + 1.0 * has_tools
        + 0.5 * has_schema
        + 0.5 * (len(messages) > _TURNS)
    )


def _has_code(text: str) -> bool:
    if "```" in text:
        return True
    lines = [line.strip() for line in text.splitlines()]
    return any(line.startswith(_CODE_BEGINS) or line.endswith(_CODE_ENDS) for line in lines)
