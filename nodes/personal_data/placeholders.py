"""Placeholders such as ``<EMAIL_1>``, numbered as what they stand for first comes in a request.

Nothing is remembered between requests: the same messages give the same placeholders, on every node and each time.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nodes.personal_data.found import Kind
    from streams.tasks.placing import Redaction

PLACEHOLDER: Final = re.compile(r"(?:<|\\u003[cC])([A-Z]{2,6}_[0-9]{1,6})(?:>|\\u003[eE])")
"""Some providers write the brackets as escapes in the JSON of arguments."""

_FEWEST_CHARS: Final = 4
"""Less of a value at the end of a text tells nothing, and may be any word."""


class Placeholders:
    """Of one request."""

    def __init__(self, level: Redaction, countries: tuple[str, ...], texts: Iterable[str]) -> None:
        """Look for what ``level`` names; placeholders that the user has written in ``texts`` stay the user's."""
        self._level: Redaction = level
        self._countries = countries
        self._literal = {name for text in texts if "_" in text for name in PLACEHOLDER.findall(text)}
        self._counts: Counter[Kind] = Counter()
        self._names: dict[str, str] = {}
        self.values: dict[str, str] = {}
        """What each stands for."""

    def hide(self, text: str) -> str:
        """Replace what is found."""
        # Only here: a node without providers has not the packages that know numbers.
        from nodes.personal_data.recogniser import recognise

        parts: list[str] = []
        at = 0
        for start, end, kind in recognise(text, self._level, self._countries):
            parts += (text[at:start], f"<{self._name(text[start:end], kind)}>")
            at = end
        return "".join((*parts, text[at:])) if parts else text

    def begun_value(self, text: str) -> str:
        """The end of a text that is the beginning of a value, cut off within it; empty: there is none."""
        longest = max(map(len, self._names), default=0)
        for length in range(min(longest - 1, len(text)), _FEWEST_CHARS - 1, -1):
            end = text[-length:]
            if any(value.startswith(end) for value in self._names if len(value) > length):
                return end
        return ""

    def _name(self, value: str, kind: Kind) -> str:
        name = self._names.get(value)
        while name is None or name in self._literal:
            self._counts[kind] += 1
            name = f"{kind}_{self._counts[kind]}"
        self._names[value] = name
        self.values[name] = value
        return name
