"""Waiting for a state that has no event of its own; the test's own time-out ends it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

LOOK_S = 0.01


async def eventually(condition: Callable[[], bool]) -> None:
    """Return as soon as ``condition()`` holds."""
    while not condition():  # noqa: ASYNC110  there is no event to wait for
        await asyncio.sleep(LOOK_S)


async def under_way(
    begin: Callable[[], Iterable[Coroutine[Any, Any, object]]], condition: Callable[[], bool]
) -> list[asyncio.Task[object]]:
    """Begin something, and return it when ``condition()`` holds and none of it is done.

    On a machine that stalls it may be done before anybody has looked: then it is begun once more.
    """
    while True:
        tasks = [asyncio.create_task(one) for one in begin()]
        while not any(task.done() for task in tasks):
            if condition():
                return tasks
            await asyncio.sleep(LOOK_S)
        # What has failed will fail again: that is the test's to tell.
        for task in tasks:
            if task.done():
                task.result()
            task.cancel()
        await asyncio.wait(tasks)
