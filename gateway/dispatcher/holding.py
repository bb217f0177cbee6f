"""A hold that is on its way while a node is chosen: both end in a synced write, and neither need wait for the other.

No node hears of a task before its hold is in the books. A dispatcher that dies between the two leaves an assignment
that nobody was told of; its heir asks for the hold before it hands the task over (ADR 22).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from gateway.dispatcher.task_run import Verdict

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from gateway.dispatcher.task_run import TaskRun
    from streams.tasks.task_error import TaskError


class Holding:
    """One task's."""

    def __init__(self, record: TaskRun, asking: Coroutine[object, object, TaskError | None]) -> None:
        """Ask; a refusal ends the task of ``record``, whatever it waits for."""
        self._record = record
        self._asking = asyncio.create_task(self._ask(asking), name=f"hold-{record.key.task}")

    async def refusal(self) -> TaskError | None:
        """Wait for the answer: why nothing can be put aside, or None.

        Raises:
            LedgerAway: if no ledger answers, and the task may come again later.
        """
        return await asyncio.shield(self._asking)

    async def is_there(self) -> bool:
        """Wait until it is in the books; False where something else, a refusal for one, has ended the task before."""
        verdict = self._record.verdict
        await asyncio.wait((self._asking, verdict), return_when=asyncio.FIRST_COMPLETED)
        if verdict.done():
            return False
        # Whatever went wrong, nothing is handed out without one.
        return self._asking.result() is None

    async def __aenter__(self) -> Self:
        """Begin nothing: it is asked already."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Wait for nothing any more: the end of the task gives back what is put aside all the same."""
        self._asking.cancel()
        await asyncio.gather(self._asking, return_exceptions=True)

    async def _ask(self, asking: Coroutine[object, object, TaskError | None]) -> TaskError | None:
        if (error := await asking) is not None:
            self._record.decide(Verdict(kind="refused", reason=error.message, error=error))
        return error
