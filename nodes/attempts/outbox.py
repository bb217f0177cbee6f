"""Pieces of one answer between the engine and the stream.

While one append is in flight, pieces gather here and become one chunk; nothing ever waits for a timer.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from streams.tasks.answer_parts import chars_in, joined_calls

if TYPE_CHECKING:
    from nodes.engine import Piece
    from nodes.errors import NodeError
    from streams.tasks.answer_parts import TokenLogprob, ToolCallPiece
    from streams.tasks.chat import FinishReason, Usage
    from streams.tasks.vectors import Vectors

PENDING_CHARS: Final = 16_384
"""How far the engine may run ahead of the stream before it has to wait."""

_LIKELY_TOKEN_CHARS: Final = 40
"""What one likely token takes in a chunk, beside characters of text, more or less: logprobs bound a chunk too."""


class Batch(NamedTuple):
    """What the next chunk says. ``finish_reason`` and ``usage`` come with the last one."""

    text: str
    tokens: int
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    tool_calls: tuple[ToolCallPiece, ...] = ()
    """One piece for each call that has grown."""
    logprobs: tuple[TokenLogprob, ...] = ()
    vectors: Vectors | None = None
    prompt_tokens: int | None = None
    """Where the engine has just said it."""

    @property
    def chars(self) -> int:
        """How far it takes the answer: in characters, or in vectors."""
        return chars_in(self.text, self.tool_calls) if self.vectors is None else self.vectors.count


class Outbox:
    """One producer puts pieces, one consumer takes all that is there. Bounded: see ``room``."""

    def __init__(self, limit_chars: int = PENDING_CHARS) -> None:
        """Let at most about ``limit_chars`` characters wait."""
        self._limit = limit_chars
        self._texts: list[str] = []
        self._calls: list[ToolCallPiece] = []
        self._logprobs: list[TokenLogprob] = []
        self._chars = 0
        self._beside_chars = 0
        self._tokens = 0
        self._prompt_tokens: int | None = None
        self._last: Piece | None = None
        self._failure: NodeError | None = None
        self._arrival: asyncio.Future[None] | None = None
        self._departure: asyncio.Future[None] | None = None

    @property
    def is_full(self) -> bool:
        """Whether the producer should wait for ``room`` before it puts more."""
        # What makes no chunk of its own must not wait for one to be taken.
        return self._chars > 0 and self._chars + self._beside_chars >= self._limit

    def put(self, piece: Piece) -> None:
        """Add a piece; one with a finish reason is the last."""
        self._texts.append(piece.text)
        self._calls.extend(piece.tool_calls)
        self._logprobs.extend(piece.logprobs)
        self._beside_chars += sum(_LIKELY_TOKEN_CHARS * (1 + len(place.top)) for place in piece.logprobs)
        self._tokens += piece.tokens
        if piece.prompt_tokens is not None:
            self._prompt_tokens = piece.prompt_tokens
        if piece.finish_reason is not None:
            self._last = piece
        self._arrived(chars_in(piece.text, piece.tool_calls))

    def _arrived(self, length: int) -> None:
        self._chars += length
        self._arrival = _wake(self._arrival)

    def fail(self, error: NodeError) -> None:
        """End the answer by an error; what was put before is still taken first."""
        self._failure = error
        self._arrival = _wake(self._arrival)

    async def room(self) -> None:
        """Wait until the consumer has taken what is there."""
        while self.is_full:
            self._departure = asyncio.get_running_loop().create_future()
            await self._departure

    async def take(self) -> Batch:
        """Take all that is there, waiting for the first text, the first of a call's arguments, or the last piece.

        A token that is not a whole character yet makes no chunk of its own: it counts in the next one. Nor does the
        name of a call: whether a chunk is stored is told by how far the answer has come.

        Raises:
            NodeError: what the producer failed with, once everything before is taken.
        """
        while not self._chars and self._last is None:
            if self._failure is not None:
                raise self._failure
            self._arrival = asyncio.get_running_loop().create_future()
            await self._arrival
        batch = self._drain()
        self._departure = _wake(self._departure)
        return batch

    def _drain(self) -> Batch:
        texts, calls, logprobs, tokens, last = self._texts, self._calls, self._logprobs, self._tokens, self._last
        self._texts, self._calls, self._logprobs = [], [], []
        self._chars = self._beside_chars = self._tokens = 0
        prompt_tokens, self._prompt_tokens = self._prompt_tokens, None
        return Batch(
            text=texts[0] if len(texts) == 1 else "".join(texts),
            tokens=tokens,
            finish_reason=None if last is None else last.finish_reason,
            usage=None if last is None else last.usage,
            tool_calls=joined_calls(calls) if calls else (),
            logprobs=tuple(logprobs),
            prompt_tokens=prompt_tokens,
        )


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
