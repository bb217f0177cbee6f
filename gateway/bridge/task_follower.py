"""The topic ``task``: one task for one connection, from any counter, without gap or repeat."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from gateway.bridge.frames import ErrorFrame, Events, TaskHappening, TaskOver
from gateway.bridge.wire import Encoded
from mesh.bus.answer import Reader, follow
from mesh.errors import BusError, WrittenByNewer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.bridge.outbox import Outbox
    from mesh.bus.answer import Step, TaskSource
    from streams.subjects import TaskKey

log = logging.getLogger(__name__)

EVENTS_PER_FRAME: Final = 128
_REMEMBERED_FRAMES: Final = 1024
_RETRY_S: Final = 1.0
_LAG_S: Final = 1.5


class FrameMemory:
    """The frames of late, so that many readers of one task share one encoding.

    A task has one valid event per counter, so the task and the counters say what is in a frame.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._frames: OrderedDict[tuple[TaskKey, int, int], Encoded] = OrderedDict()

    def frame(self, key: TaskKey, steps: Sequence[Step]) -> Encoded:
        """Return the frame with these steps, made now or before."""
        # With the account: clients choose the ids of their tasks, and two accounts may choose the same.
        name = (key, steps[0].state.n, steps[-1].state.n)
        found = self._frames.get(name)
        if found is None:
            happened = (TaskHappening(task=key.task, writer=step.writer, event=step.event) for step in steps)
            found = self._frames[name] = Encoded(Events(topic="task", events=tuple(happened)))
            if len(self._frames) > _REMEMBERED_FRAMES:
                self._frames.popitem(last=False)
        return found


async def send_task(source: TaskSource, key: TaskKey, after: int, outbox: Outbox, memory: FrameMemory) -> None:
    """Send every valid event of a task past ``after``, then ``over``. Outlives a bus that is away for a while.

    Where ``after`` lies ahead of the task, an error ends the subscription.
    """
    position = after
    while True:
        try:
            if position and await _lies_ahead(source, key, position):
                await outbox.put(Encoded(_ahead(key, position)))
                return
            async for steps in follow(source, key, after=position):
                for start in range(0, len(steps), EVENTS_PER_FRAME):
                    batch = steps[start : start + EVENTS_PER_FRAME]
                    await outbox.put(memory.frame(key, batch))
                    position = batch[-1].state.n
        except WrittenByNewer as error:
            log.error("%s", error)
            await outbox.put(Encoded(ErrorFrame(code="newer_version", message=str(error), topic="task", task=key.task)))
            return
        except BusError as error:
            log.warning("task %s cannot be read now, trying again: %s", key.task, error)
            await outbox.put(Encoded(_trouble(key, error)))
            await asyncio.sleep(_RETRY_S)
        else:
            await outbox.put(Encoded(TaskOver(task=key.task, n=position)))
            return


async def _lies_ahead(source: TaskSource, key: TaskKey, position: int) -> bool:
    """Whether there is no such counter yet; looked at twice, since a copy of the stream may lag behind another."""
    reader = Reader(source, key)
    for pause_s in (_LAG_S, 0):
        await reader.catch_up()
        if reader.state.n >= position:
            return False
        await asyncio.sleep(pause_s)
    return True


def _ahead(key: TaskKey, position: int) -> ErrorFrame:
    message = f"the counter {position} lies ahead of task {key.task}"
    return ErrorFrame(code="ahead_of_task", message=message, topic="task", task=key.task)


def _trouble(key: TaskKey, error: BusError) -> ErrorFrame:
    return ErrorFrame(code="bus_unavailable", message=str(error), topic="task", task=key.task, still_subscribed=True)
