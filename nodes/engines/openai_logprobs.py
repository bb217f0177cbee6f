"""Logprobs in the form that OpenAI gave them, as llama-server and other servers answer."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from streams.answer_parts import LikelyToken, TokenLogprob

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

    def read(self, top: int | None) -> tuple[TokenLogprob, ...]:
        """Return them with at most ``top`` likely tokens for each place; none, where none were asked for."""
        if top is None:
            return ()
        return tuple(_place(place, top) for place in self.content or ())


def _place(place: _Place, top: int) -> TokenLogprob:
    likely = (place.top_logprobs or ())[:top]
    return TokenLogprob(
        token=place.token,
        logprob=place.known,
        raw=place.raw,
        top=tuple(LikelyToken(token=one.token, logprob=one.known, raw=one.raw) for one in likely),
    )
