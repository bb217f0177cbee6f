"""Going on with an answer of which a part is published: what is left to ask the engine for, and what all of it cost.

An engine counts its own request alone, with the published part as prompt. A task is one answer for its user, whoever
wrote which part: it has ``max_tokens`` once, and one usage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from nodes.engine import Generate
from streams.chat import Usage

if TYPE_CHECKING:
    from nodes.engine import Piece
    from streams.messages import Assign


class Continuation:
    """The rest of one answer."""

    def __init__(self, assign: Assign) -> None:
        """Look at what of ``assign`` is published already; nothing, for a fresh task."""
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
        return Generate(messages=assign.messages, sampling=sampling, prefix=assign.prefix)

    def fit(self, piece: Piece) -> Piece:
        """Make a piece of the engine's answer one of the whole answer."""
        if not self._published:
            return piece
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
