"""Joining what an earlier attempt has published: what to ask the engine for, and what of its answer is new (ADR 8).

An engine counts its own request alone. A task is one answer for its user, whoever wrote which part: it has
``max_tokens`` once, and one usage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from nodes.attempts.published_calls import PublishedCalls
from nodes.engine import Generate
from nodes.errors import CannotContinue
from streams.tasks.answer_parts import bytes_of
from streams.tasks.chat import Usage

if TYPE_CHECKING:
    from nodes.engine import Engine, Piece
    from streams.messages import Assign
    from streams.tasks.answer_parts import TokenLogprob


def joined(assign: Assign, engine: Engine) -> Continuation | Replay:
    """Choose how ``engine`` is to write what ``assign`` asks for.

    Raises:
        CannotContinue: it is to go on from a text, and cannot.
    """
    if assign.seam == "replayed":
        return Replay(assign)
    continuation = Continuation(assign)
    # No engine goes on inside a call.
    if assign.prefix_calls or (assign.prefix and not engine.can_continue(continuation.request)):
        raise CannotContinue(f"the engine of {assign.model!r} can write this answer only from its beginning")
    return continuation


class Continuation:
    """An answer of which the engine writes the rest; all of it, where nothing is published."""

    def __init__(self, assign: Assign) -> None:
        """Look at what of ``assign`` is published already."""
        self._assign = assign
        self._published = assign.prefix_tokens
        limit = assign.sampling.max_tokens
        self._left = None if limit is None else limit - self._published

    @property
    def request(self) -> Generate:
        """What to ask the engine for."""
        assign = self._assign
        # One token at least is what an engine can be asked for; where none is left, ``fit`` drops it again.
        sampling = assign.sampling if self._left is None else replace(assign.sampling, max_tokens=max(1, self._left))
        return Generate(
            messages=assign.messages,
            prompt=assign.prompt,
            sampling=sampling,
            prefix=assign.prefix,
            tools=assign.tools,
            format=assign.format,
            redaction=assign.redaction,
        )

    def fit(self, piece: Piece) -> Piece:
        """Make a piece of the engine's answer one of the whole answer."""
        if not self._published:
            return piece
        if piece.prompt_tokens is not None:
            piece = replace(piece, prompt_tokens=max(0, piece.prompt_tokens - self._published))
        if self._left is not None and self._left <= 0:
            # All tokens were published, but not that they were the last.
            ends = None if piece.finish_reason is None else "length"
            piece = replace(piece, text="", tokens=0, finish_reason=ends)
            own = 0
        else:
            own = 0 if piece.usage is None else piece.usage.completion_tokens
        return piece if piece.usage is None else replace(piece, usage=self._whole(piece.usage, own))

    def _whole(self, usage: Usage, own_tokens: int) -> Usage:
        prompt_tokens = max(0, usage.prompt_tokens - self._published)
        return Usage(
            prompt_tokens=prompt_tokens,
            completion_tokens=self._published + own_tokens,
            cached_prompt_tokens=min(usage.cached_prompt_tokens, prompt_tokens),
        )


class Replay:
    """An answer that the engine writes from its beginning once more: only what is past the published part is new."""

    def __init__(self, assign: Assign) -> None:
        """Take the published part of ``assign`` as what must come first."""
        self._assign = assign
        self._published = assign.prefix
        self._chars = 0
        """How much of the published text has come again."""
        self._calls = PublishedCalls(assign.prefix_calls)
        self._tokens = 0
        self._counted = assign.prefix_tokens

    @property
    def request(self) -> Generate:
        """What to ask the engine for."""
        assign = self._assign
        return Generate(
            messages=assign.messages,
            prompt=assign.prompt,
            sampling=assign.sampling,
            tools=assign.tools,
            format=assign.format,
            redaction=assign.redaction,
        )

    def fit(self, piece: Piece) -> Piece | None:
        """Return what of a piece is new to the reader, if anything is.

        Raises:
            CannotContinue: the engine writes something else this time, or ends too early.
        """
        self._tokens += piece.tokens
        text = self._past_published(piece.text)
        calls = self._calls.past_published(piece.tool_calls)
        new = replace(piece, text=text, tool_calls=calls, logprobs=_end_of(piece.logprobs, text))
        if piece.finish_reason is None and not (text or calls):
            return None
        if piece.finish_reason is None and not calls:
            return replace(new, tokens=self._newly_counted())
        # Calls come behind the text.
        if self._chars < len(self._published):
            raise CannotContinue(f"written anew, the answer ends at character {self._chars} of {len(self._published)}")
        if piece.finish_reason is not None:
            self._calls.check_all_came()
        tokens = self._newly_counted()
        usage = None if piece.usage is None else replace(piece.usage, completion_tokens=self._counted)
        return replace(new, tokens=tokens, usage=usage)

    def _past_published(self, text: str) -> str:
        expected = self._published[self._chars : self._chars + len(text)]
        if not text.startswith(expected):
            same = next(i for i, (new, old) in enumerate(zip(text, expected, strict=False)) if new != old)
            differs_at = self._chars + same
            raise CannotContinue(f"written anew, the answer differs from the published one at character {differs_at}")
        self._chars += len(expected)
        return text[len(expected) :]

    def _newly_counted(self) -> int:
        # Another tokenizer may have counted more for the published part: those tokens stay as they are.
        new = max(0, self._tokens - self._counted)
        self._counted += new
        return new


def _end_of(logprobs: tuple[TokenLogprob, ...], text: str) -> tuple[TokenLogprob, ...]:
    """Those of the tokens that make up ``text``, the end of what all make up; one that only reaches into it too."""
    left = len(text.encode())
    at = len(logprobs)
    while at and left > 0:
        at -= 1
        left -= len(bytes_of(logprobs[at]))
    return logprobs[at:]
