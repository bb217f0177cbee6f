"""The choices of a chat completion (``n``), put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.http.chat.answer import choice_of, whole_answers

if TYPE_CHECKING:
    from gateway.http.chat.answer import Choice, ChunkFrames
    from gateway.http.chat.question import ChatQuestion
    from mesh.bus.answer import AnswerText
    from streams.subjects import TaskKey
    from streams.tasks.grounding import Grounding
    from streams.tasks.task import TaskState
    from streams.tokens import Token


class ChatChoices:
    """The choices of one request as they come."""

    def __init__(self, first: Token, question: ChatQuestion) -> None:
        """Prepare to answer ``question``; ``first`` names the answer."""
        self.first = first
        self.question = question
        self.there: dict[int, Choice] = {}

    def part(self, index: int) -> ChatPart:
        """One of them."""
        return ChatPart(self, index)

    def whole(self, model: str, state: TaskState) -> bytes:
        """Write a ``chat.completion``."""
        choices = tuple(choice for _, choice in sorted(self.there.items()))
        return whole_answers(self.first, model, choices, state)


class ChatPart:
    """One choice. What it rests on is what was found for the request, unless its task was stored before."""

    def __init__(self, choices: ChatChoices, index: int) -> None:
        """Be one of ``choices``."""
        self._choices = choices
        self._index = index
        self._grounding: Grounding | None = choices.question.grounding
        self._frames: ChunkFrames | None = None

    async def recall(self, key: TaskKey) -> None:
        """Take from the log what was found for its task, which was stored before."""
        self._grounding = await self._choices.question.found_for(key)

    def answer(self, task: Token, text: AnswerText, state: TaskState) -> bytes:
        """Keep it until the others are there."""
        del task
        choice = choice_of(text, state, index=self._index, grounding=self._grounding)
        self._choices.there[self._index] = choice
        return b""

    def frames(self, task: Token) -> ChunkFrames:
        """A writer of chunks."""
        del task
        if self._frames is None:
            choices = self._choices
            self._frames = choices.question.frames_of(choices.first, self._grounding, part=self._index)
        return self._frames
