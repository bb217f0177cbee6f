"""Makes pieces out of tokens: counting, stop strings and the last piece, alike for every engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodes.engine import Piece
from nodes.engines.shown_logprobs import ShownLogprobs
from nodes.engines.stops import StopFilter
from streams.tasks.chat import Usage

if TYPE_CHECKING:
    from nodes.engines.grammar.call_reader import CallReader
    from nodes.engines.llama.plain_text import Mended
    from streams.tasks.answer_parts import TokenLogprob, ToolCallPiece
    from streams.tasks.chat import FinishReason


class AnswerWriter:
    """One answer: counts its tokens, keeps stop strings out of it and writes its last piece."""

    def __init__(
        self, stops: tuple[str, ...], mended: Mended, *, prompt_tokens: int = 0, calls: CallReader | None = None
    ) -> None:
        """Begin; ``calls`` parts calls from the text that is added, where a model writes them into it."""
        self.prompt_tokens = prompt_tokens
        self.cached_prompt_tokens = 0
        self.knows_prompt = True
        """Whether ``prompt_tokens`` has been counted, where it is not 0."""
        self.tokens = 0
        self.finished = False
        """Whether the last piece was made."""
        self._mended = mended
        self._stops = StopFilter(stops)
        self._shown_tokens = 0
        self._logprobs = ShownLogprobs()
        self._calls = calls

    def add(
        self,
        text: str,
        *,
        tokens: int = 1,
        ends: FinishReason | None = None,
        calls: tuple[ToolCallPiece, ...] = (),
        logprobs: tuple[TokenLogprob, ...] = (),
    ) -> Piece | None:
        """Take the text of ``tokens`` new tokens; ``ends`` says that they are the last and why.

        No piece comes of a token without text, or whose text may begin a stop string; the next piece counts it.
        """
        self.tokens += tokens
        self._logprobs.add(logprobs)
        if self._calls is not None:
            text, calls, ends = self._read(self._calls, text, ends)
        if calls:
            self._logprobs.stop()
        shown = self._stops.push(self._mended.push(text))
        if self._stops.hit:
            ends = "stop"
        if ends is not None:
            return self._last(shown + self._stops.rest(), ends, calls)
        if calls:
            shown += self._stops.rest()
        if not shown and not calls:
            return None
        told = self.prompt_tokens if self.knows_prompt and self.prompt_tokens and not self._shown_tokens else None
        return Piece(
            text=shown,
            tokens=self._newly_shown(),
            tool_calls=calls,
            logprobs=self._logprobs.of(shown),
            prompt_tokens=told,
        )

    def end(self, reason: FinishReason, *, tokens: int = 0) -> Piece:
        """Make the last piece, of what was held back and of ``tokens`` that gave no text."""
        self.tokens += tokens
        return self._last(self._stops.rest(), reason, ())

    def _read(
        self, reader: CallReader, text: str, ends: FinishReason | None
    ) -> tuple[str, tuple[ToolCallPiece, ...], FinishReason | None]:
        """Part what the model has written; an answer that ends by itself behind a call ends for the call."""
        shown, calls = reader.push(text)
        if ends is not None:
            shown += reader.rest()
        return shown, calls, "tool_calls" if ends == "stop" and reader.has_called else ends

    def _last(self, text: str, reason: FinishReason, calls: tuple[ToolCallPiece, ...]) -> Piece:
        self.finished = True
        logprobs = self._logprobs.of(text) if self._stops.hit else self._logprobs.of(text) + self._logprobs.rest()
        usage = Usage(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.tokens,
            cached_prompt_tokens=min(self.cached_prompt_tokens, self.prompt_tokens),
        )
        return Piece(
            text=text,
            tokens=self._newly_shown(),
            finish_reason=reason,
            usage=usage,
            tool_calls=calls,
            logprobs=logprobs,
        )

    def _newly_shown(self) -> int:
        new, self._shown_tokens = self.tokens - self._shown_tokens, self.tokens
        return new
