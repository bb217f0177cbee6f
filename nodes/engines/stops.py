"""Stop strings, looked for here for every engine.

llama-server can do it too, but loses what it held back when an answer reaches ``max_tokens`` meanwhile.
"""

from __future__ import annotations


class StopFilter:
    """Lets text through up to the first stop string, which is never shown, not even in part.

    Text that may turn out to be the beginning of a stop string is held back until the next text decides.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._held = ""
        self.hit = False
        """Whether a stop string came; nothing is let through any more."""

    def push(self, text: str) -> str:
        """Take new text, return what may be shown."""
        if self.hit or not self._stops:
            return "" if self.hit else text
        self._held += text
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.hit = True
            return self._held[: min(found)]
        keep = max(self._begun(stop) for stop in self._stops)
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return shown

    def rest(self) -> str:
        """Return what was held back, when no more text will come."""
        shown, self._held = "" if self.hit else self._held, ""
        return shown

    def _begun(self, stop: str) -> int:
        """Length of the longest end of the held text that begins ``stop``."""
        longest = min(len(stop) - 1, len(self._held))
        return next((n for n in range(longest, 0, -1) if self._held.endswith(stop[:n])), 0)
