"""The pieces of a provider's answer with the values put back: in its text, its calls and its log probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from nodes.personal_data.restored_logprobs import RestoredLogprobs
from nodes.personal_data.restoring import Restorer
from streams.tasks.answer_parts import ToolCallPiece, chars_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nodes.engine import Piece

_SILENT_TOKENS: Final = 32
"""Tokens that may give no text; a mesh believes no count far beyond the bytes of an answer (ADR 14)."""


class RestoredPieces:
    """Of one answer."""

    def __init__(self, values: Mapping[str, str]) -> None:
        """Put ``values`` in the place of their placeholders."""
        self._values = values
        self._text = Restorer(values)
        self._logprobs = RestoredLogprobs(values)
        self._call = Restorer(values, is_json=True)
        self._index: int = -1
        self._waiting = 0
        self._tokens = 0
        self._chars = 0

    def push(self, piece: Piece) -> Piece | None:
        """Take the next piece, and return what can be shown; None: all of it is held back."""
        is_last = piece.finish_reason is not None
        text = self._text.push(piece.text)
        if piece.tool_calls or is_last:
            text += self._text.rest()
        calls = tuple(self._calls(piece.tool_calls, is_last=is_last))
        logprobs = self._logprobs.push(piece.logprobs)
        if is_last:
            logprobs += self._logprobs.rest()
        self._waiting += piece.tokens
        if not (text or calls or is_last):
            return None
        self._chars += chars_in(text, calls)
        tokens = min(self._waiting, max(0, self._chars + _SILENT_TOKENS - self._tokens))
        self._waiting = 0 if is_last else self._waiting - tokens
        self._tokens += tokens
        usage = piece.usage
        if usage is not None and usage.completion_tokens > self._tokens:
            # A placeholder may have more tokens than its value has characters.
            usage = replace(usage, completion_tokens=self._tokens)
        return replace(piece, text=text, tool_calls=calls, logprobs=logprobs, tokens=tokens, usage=usage)

    def _calls(self, pieces: tuple[ToolCallPiece, ...], *, is_last: bool) -> Iterator[ToolCallPiece]:
        for piece in pieces:
            if piece.index != self._index:
                yield from self._rest_of_call()
                self._index, self._call = piece.index, Restorer(self._values, is_json=True)
            arguments = self._call.push(piece.arguments)
            if arguments or piece.name is not None:
                yield replace(piece, arguments=arguments)
        if is_last:
            yield from self._rest_of_call()

    def _rest_of_call(self) -> Iterator[ToolCallPiece]:
        rest = self._call.rest()
        if rest:
            yield ToolCallPiece(index=self._index, arguments=rest)
