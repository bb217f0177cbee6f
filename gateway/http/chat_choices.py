"""The choices of a chat completion (``n``), put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.http.chat_answer import ChunkFrames, choice_of, whole_answers

if TYPE_CHECKING:
    from gateway.http.chat_answer import Choice
    from mesh.bus.answer import AnswerText
    from streams.task import TaskState
    from streams.tokens import Token


class ChatChoices:
    """The choices of one request as they come."""

    def __init__(self, first: Token, model: str, *, include_usage: bool) -> None:
        """Prepare; ``first`` names the answer."""
        self._first = first
        self._model = model
        self._include_usage = include_usage
        self.there: dict[int, Choice] = {}

    def part(self, index: int) -> ChatPart:
        """One of them."""
        frames = ChunkFrames(self._first, self._model, include_usage=self._include_usage, part=index)
        return ChatPart(self, index, frames)

    def whole(self, model: str, state: TaskState) -> bytes:
        """Write a ``chat.completion``."""
        choices = tuple(choice for _, choice in sorted(self.there.items()))
        return whole_answers(self._first, model, choices, state)


class ChatPart:
    """One choice."""

    def __init__(self, choices: ChatChoices, index: int, frames: ChunkFrames) -> None:
        """Be one of ``choices``."""
        self._choices = choices
        self._index = index
        self._frames = frames

    def answer(self, task: Token, text: AnswerText, state: TaskState) -> bytes:
        """Keep it until the others are there."""
        del task
        self._choices.there[self._index] = choice_of(text, state, index=self._index)
        return b""

    def frames(self, task: Token) -> ChunkFrames:
        """A writer of chunks."""
        del task
        return self._frames
