"""Logprobs go out with the text that their tokens make up: never before it, and never for what is not shown."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from streams.tasks.answer_parts import bytes_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.tasks.answer_parts import TokenLogprob


class ShownLogprobs:
    """Holds the logprobs of tokens whose text is held back, or is no whole character yet."""

    def __init__(self) -> None:
        """Begin with none."""
        self._held: deque[TokenLogprob] = deque()
        self._stopped = False
        self._ahead_bytes = 0
        """By how much text was shown whose tokens did not go out yet; less than 0: the last of them reaches further."""

    def add(self, logprobs: Iterable[TokenLogprob]) -> None:
        """Take those of new tokens."""
        if not self._stopped:
            self._held.extend(logprobs)

    def stop(self) -> None:
        """Forget what is held, and take no more: what comes now is no text."""
        self._stopped = True
        self._held.clear()

    def of(self, text: str) -> tuple[TokenLogprob, ...]:
        """Return those that begin in ``text``, which is shown next."""
        if not self._held:
            return ()
        self._ahead_bytes += len(text.encode())
        shown: list[TokenLogprob] = []
        while self._held and self._ahead_bytes > 0:
            shown.append(self._held.popleft())
            self._ahead_bytes -= len(bytes_of(shown[-1]))
        if not self._held:
            # Not every byte of a text is a token's own: nothing of that may be counted for the next ones.
            self._ahead_bytes = min(0, self._ahead_bytes)
        return tuple(shown)

    def rest(self) -> tuple[TokenLogprob, ...]:
        """Return all that are left, when no more text will come."""
        rest = tuple(self._held)
        self._held.clear()
        return rest
