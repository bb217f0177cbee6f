"""The stream of a chat completion for which files were searched: behind the text stands what it rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.http.chat.answer import ChunkFrames
from gateway.http.file_search.objects import annotations_of
from mesh.bus.answer import AnswerText

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mesh.bus.answer import Step
    from streams.tasks.grounding import Grounding
    from streams.tokens import Token


class CitingFrames(ChunkFrames):
    """Writes such a stream: one chunk with ``annotations`` comes before the last."""

    def __init__(
        self, task: Token, model: str, grounding: Grounding, *, include_usage: bool, part: int | None = None
    ) -> None:
        """Prepare to cite what ``grounding`` has."""
        super().__init__(task, model, include_usage=include_usage, part=part)
        self._grounding = grounding
        self._answer = AnswerText()

    def write(self, step: Step) -> bytes:
        """Write what a client is told of one event."""
        self._answer.take((step,))
        return super().write(step)

    def resume(self, steps: Sequence[Step]) -> None:
        """Begin behind what an earlier stream has told."""
        self._answer.take(steps)
        super().resume(steps)

    def beside_text(self) -> bytes:
        """Write what the text rests on."""
        found = annotations_of(str(self._answer), self._grounding)
        return self.delta(b'"annotations":' + msgspec.json.encode(found)) if found else b""
