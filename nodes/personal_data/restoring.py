"""Putting values back into an answer as it comes, wherever it is cut into chunks."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from nodes.personal_data.placeholders import PLACEHOLDER

if TYPE_CHECKING:
    from collections.abc import Mapping

_OPEN: Final = re.compile(
    r"(?:(?:<|\\u003[cC])(?:[A-Z]{0,6}|[A-Z]{2,6}_[0-9]{0,6})|\\(?:u(?:0(?:0(?:3)?)?)?)?"
    r"|(?:<|\\u003[cC])[A-Z]{2,6}_[0-9]{1,6}\\(?:u(?:0(?:0(?:3)?)?)?)?)\Z"
)
"""What may become a placeholder with what comes next."""
_LONGEST: Final = 32
"""More characters than any placeholder has."""


def open_from(text: str) -> int:
    """Where in a text a placeholder begins that may not be whole; its length, where none does."""
    at = max(0, len(text) - _LONGEST)
    match = _OPEN.search(text, at)
    return len(text) if match is None else match.start()


class Restorer:
    """Of one text that grows: the answer's, or one call's arguments."""

    def __init__(self, values: Mapping[str, str], *, is_json: bool = False) -> None:
        """Put ``values`` back; ``is_json`` where the text is JSON, and they come to stand in its strings."""
        self._values = values
        self._is_json = is_json
        self._held = ""

    def push(self, text: str) -> str:
        """Take what comes next, and return what can be shown of it and of what was held back."""
        whole = self._held + text
        at = open_from(whole)
        self._held = whole[at:]
        return self._restored(whole[:at])

    def rest(self) -> str:
        """Return what is still held back, when nothing more comes."""
        held, self._held = self._held, ""
        return self._restored(held)

    def _restored(self, text: str) -> str:
        return PLACEHOLDER.sub(self._value, text)

    def _value(self, match: re.Match[str]) -> str:
        value = self._values.get(match[1])
        if value is None:
            return match[0]
        return json.dumps(value, ensure_ascii=False)[1:-1] if self._is_json else value
