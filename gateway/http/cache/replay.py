"""A stored answer in the place of a task that is followed: all of it is there at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.tasks.task import TaskState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mesh.bus.answer import Step


class Replay:
    """Hands out the steps of an answer, once."""

    def __init__(self, steps: Sequence[Step]) -> None:
        """Hand out ``steps``, the last of which is the end."""
        self._steps = list(steps)
        self.state = TaskState()
        self.behind: list[Step] = []
        self.reached = 0

    @property
    def is_over(self) -> bool:
        """Whether the end has been handed out."""
        return self.state.is_over

    async def steps(self) -> list[Step]:
        """Return all of it."""
        steps, self._steps = self._steps, []
        if steps:
            self.state = steps[-1].state
            self.reached = self.state.n
        return steps

    async def first_steps(self) -> list[Step]:
        """Return all of it: nobody goes on in the middle of a stored answer."""
        return await self.steps()
