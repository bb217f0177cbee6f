"""Logprobs in the forms that OpenAI gave them, for chats and for raw prompts, as llama-server and others answer."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from streams.tasks.answer_parts import LikelyToken, TokenLogprob

if TYPE_CHECKING:
    from collections.abc import Iterator

_NEVER: Final = -9999.0
"""OpenAI's number for what cannot be; JSON has none."""


class _Likely(Struct, frozen=True):
    token: str
    logprob: float | None = None
    bytes: tuple[int, ...] | None = None

    @property
    def raw(self) -> bytes | None:
        """The bytes, where the text does not say them."""
        if self.bytes is None or any(not 0 <= byte < 256 for byte in self.bytes):
            return None
        raw = bytes(self.bytes)
        return None if raw == self.token.encode(errors="replace") else raw

    @property
    def known(self) -> float:
        return _NEVER if self.logprob is None else max(_NEVER, self.logprob)


class _Place(_Likely, frozen=True):
    top_logprobs: tuple[_Likely, ...] | None = None


class Logprobs(Struct, frozen=True):
    """What a choice, or a piece of one, has of them."""

    content: tuple[_Place, ...] | None = None
    # The older form, behind a raw prompt; llama-server has the newer one there too.
    tokens: tuple[str, ...] | None = None
    token_logprobs: tuple[float | None, ...] | None = None
    top_logprobs: tuple[dict[str, float | None] | None, ...] | None = None

    def read(self, top: int | None) -> tuple[TokenLogprob, ...]:
        """Return them with at most ``top`` likely tokens for each place; none, where none were asked for."""
        if top is None:
            return ()
        return tuple(_place(place, top) for place in (*(self.content or ()), *self._older()))

    def _older(self) -> Iterator[_Place]:
        known, likely = self.token_logprobs or (), self.top_logprobs or ()
        for token, logprob, best in zip_longest(self.tokens or (), known, likely):
            if token is not None:
                others = [_Likely(token=one, logprob=of_one) for one, of_one in (best or {}).items()]
                others.sort(key=lambda one: one.known, reverse=True)
                yield _Place(token=token, logprob=logprob, top_logprobs=tuple(others))


def _place(place: _Place, top: int) -> TokenLogprob:
    likely = (place.top_logprobs or ())[:top]
    return TokenLogprob(
        token=place.token,
        logprob=place.known,
        raw=place.raw,
        top=tuple(LikelyToken(token=one.token, logprob=one.known, raw=one.raw) for one in likely),
    )
