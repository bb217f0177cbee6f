"""Log probabilities of an answer with placeholders: all tokens that make one become one token, the value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodes.personal_data.placeholders import PLACEHOLDER
from nodes.personal_data.restoring import open_from
from streams.tasks.answer_parts import TokenLogprob, bytes_of

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator, Mapping

    Span = tuple[int, int]


class RestoredLogprobs:
    """Of one answer."""

    def __init__(self, values: Mapping[str, str]) -> None:
        """Put ``values`` in the place of their placeholders."""
        self._values = values
        self._held: tuple[TokenLogprob, ...] = ()

    def push(self, places: tuple[TokenLogprob, ...]) -> tuple[TokenLogprob, ...]:
        """Take the next tokens, and return those that are no part of what may become a placeholder."""
        if not places:
            return ()
        self._held += places
        return self._shown(open_from(_text(self._held)))

    def rest(self) -> tuple[TokenLogprob, ...]:
        """Return what is still held back."""
        return self._shown(len(_text(self._held)))

    def _shown(self, until: int) -> tuple[TokenLogprob, ...]:
        """Take the tokens that end before a place in the text of those that are held."""
        spans = [match.span() for match in PLACEHOLDER.finditer(_text(self._held)) if match[1] in self._values]
        shown: list[TokenLogprob] = []
        count = 0
        for group in _groups(self._held, spans):
            if sum(len(bytes_of(place)) for place in self._held[: count + len(group)]) > until:
                break
            count += len(group)
            shown.append(self._one(group))
        self._held = self._held[count:]
        return tuple(shown)

    def _one(self, group: tuple[TokenLogprob, ...]) -> TokenLogprob:
        text = _text(group)
        restored = PLACEHOLDER.sub(self._value, text)
        if restored == text:
            return group[0]
        raw = restored.encode("latin-1")
        token = raw.decode(errors="replace")
        # The chance of all of them, one after the other; what else could have stood there says nothing any more.
        logprob = sum(place.logprob for place in group)
        return TokenLogprob(token=token, logprob=logprob, raw=None if token.encode() == raw else raw)

    def _value(self, match: re.Match[str]) -> str:
        value = self._values.get(match[1])
        return match[0] if value is None else value.encode().decode("latin-1")


def _text(places: tuple[TokenLogprob, ...]) -> str:
    """What tokens make up, a character for each byte: a token may be a part of a character."""
    return b"".join(map(bytes_of, places)).decode("latin-1")


def _groups(places: tuple[TokenLogprob, ...], spans: list[Span]) -> Iterator[tuple[TokenLogprob, ...]]:
    """Part tokens, so that those that share a span stand together."""
    group: list[TokenLogprob] = []
    at = 0
    for place in places:
        group.append(place)
        at += len(bytes_of(place))
        if not any(start < at < end for start, end in spans):
            yield tuple(group)
            group = []
    if group:
        yield tuple(group)
