"""The answers of a completion with several prompts, or several answers to each, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.http.completions.answer import CompletionFrames, choice_of, whole_completion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.http.completions.answer import CompletionChoice
    from mesh.bus.answer import AnswerText
    from streams.tasks.task import TaskState
    from streams.tokens import Token


class CompletionChoices:
    """The answers of one request as they come."""

    def __init__(self, first: Token, model: str, echoed: Sequence[str], *, include_usage: bool) -> None:
        """Prepare; ``first`` names them all, and ``echoed`` stands in front of each."""
        self._first = first
        self._model = model
        self._echoed = echoed
        self._include_usage = include_usage
        self.there: dict[int, CompletionChoice] = {}

    def part(self, index: int) -> CompletionPart:
        """One of them."""
        echoed = self._echoed[index]
        frames = CompletionFrames(
            self._first, self._model, include_usage=self._include_usage, echoed=echoed, part=index
        )
        return CompletionPart(self, index, frames, echoed)

    def whole(self, model: str, state: TaskState) -> bytes:
        """Write a ``text_completion``."""
        choices = tuple(choice for _, choice in sorted(self.there.items()))
        return whole_completion(self._first, model, choices, state)


class CompletionPart:
    """One answer."""

    def __init__(self, choices: CompletionChoices, index: int, frames: CompletionFrames, echoed: str) -> None:
        """Be one of ``choices``."""
        self._choices = choices
        self._index = index
        self._frames = frames
        self._echoed = echoed

    def answer(self, task: Token, text: AnswerText, state: TaskState) -> bytes:
        """Keep it until the others are there."""
        del task
        self._choices.there[self._index] = choice_of(text, state, self._echoed, index=self._index)
        return b""

    def frames(self, task: Token) -> CompletionFrames:
        """A writer of chunks."""
        del task
        return self._frames
