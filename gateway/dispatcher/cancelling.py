"""Cancelling: a request that competes with every other end of the task, and says which one won."""

from __future__ import annotations

import contextlib
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from gateway.dispatcher import ending
from gateway.dispatcher.gate import UNREADABLE
from gateway.dispatcher.metering import metered
from gateway.dispatcher.task_run import Superseded, TaskRun, Verdict
from gateway.intake.submissions import Submissions
from gateway.requests import Desk
from mesh.errors import NoResponders, RequestTimedOut
from streams import subjects
from streams.clock import now_ms
from streams.codec import decode, encode
from streams.events import TaskHalted, TaskSubmitted
from streams.messages import Cancel, CancelOutcome
from streams.subjects import TaskKey
from streams.tasks.task import Phase, closing
from streams.tasks.task_id import parse_task_id
from streams.tokens import token

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.dispatcher.life import TaskLife
    from gateway.dispatcher.metering import TierOf
    from gateway.limits.reads import Reads
    from mesh.bus.direct_client import Delivery
    from mesh.bus.service_bus import Bus

log = logging.getLogger(__name__)

_QUEUE: Final = "dispatchers"
_OWNER: Final = "dispatcher.cancel"
"""In CORE: asked of all dispatchers, answered by the one that holds the task. The account is the last token."""

_OWNER_TIMEOUT: Final = timedelta(seconds=2)
_TRIES: Final = 3


class Cancelling:
    """Serves cancel requests: of users in EDGE, of our own services in CORE, of other dispatchers."""

    def __init__(self, bus: Bus, lives: Mapping[TaskKey, TaskLife], tier_of: TierOf, reads: Reads) -> None:
        """Prepare; ``lives`` are this dispatcher's tasks, ``tier_of`` says where a node runs a model.

        ``reads`` counts what users ask; what our own services ask was counted there.
        """
        self._reads = reads
        self._tier_of = tier_of
        self._bus = bus
        self._lives = lives
        self._submissions = Submissions(bus.edge)
        self._edge = Desk(bus.edge)
        self._core = Desk(bus.core)

    async def start(self) -> None:
        """Begin to serve."""
        everyone = subjects.user_api_all("cancel")
        inbox_of, refuse = subjects.inbox_of_user_call, self._reads.refusal
        await self._edge.serve(everyone, Cancel, self._cancel, queue=_QUEUE, inbox_of=inbox_of, refuse=refuse)
        await self._core.serve(everyone, Cancel, self._cancel, queue=_QUEUE)
        await self._core.serve(f"{_OWNER}.*", Cancel, self._cancel_if_ours)

    async def stop(self) -> None:
        """Serve no more."""
        await self._edge.stop()
        await self._core.stop()

    async def _cancel(self, delivery: Delivery, request: Cancel) -> CancelOutcome:
        key = TaskKey(subjects.parse_call(delivery.subject).caller, parse_task_id(request.task))
        for _ in range(_TRIES):
            if (life := self._lives.get(key)) is not None and (ended := await self._end_life(life, request)):
                return ended
            # Looked up first: of a task that is over, or was never there, no dispatcher would say a word.
            if await ending.stored_end(self._bus, key) is not None or not await self._submissions.exists(key):
                break
            try:
                reply = await self._bus.core.request(f"{_OWNER}.{key.account}", encode(request), timeout=_OWNER_TIMEOUT)
                outcome = decode(reply.data, CancelOutcome)
                if outcome.outcome != "unknown":
                    return outcome
            except (NoResponders, RequestTimedOut):
                pass
            try:
                return await self._end_unowned(key, request)
            except Superseded as error:
                # A dispatcher took it in this moment: that one ends it.
                log.info("%s", error)
        return await self._outcome(key)

    async def _cancel_if_ours(self, delivery: Delivery, request: Cancel) -> CancelOutcome | None:
        account = token(delivery.subject.rpartition(".")[2])
        life = self._lives.get(TaskKey(account, parse_task_id(request.task)))
        return None if life is None else await self._end_life(life, request)

    async def _end_life(self, life: TaskLife, request: Cancel) -> CancelOutcome | None:
        """Cancel what runs here; None if it was given back to the queue in this moment, and has not ended."""
        life.record.decide(Verdict(kind="cancelled", reason=request.reason))
        await life.over.wait()
        outcome = await self._outcome(life.record.key)
        return None if outcome.outcome == "unknown" else outcome

    async def _outcome(self, key: TaskKey) -> CancelOutcome:
        end = await ending.stored_end(self._bus, key)
        return CancelOutcome(task=key.task, outcome="unknown" if end is None else closing(end).outcome)

    async def _end_unowned(self, key: TaskKey, request: Cancel) -> CancelOutcome:
        """End a task that no dispatcher holds: it waits in the queue, or its dispatcher has died.

        Raises:
            Superseded: if a dispatcher has just taken it.
        """
        run = TaskRun(self._bus, key)
        await run.read()
        if run.state.phase not in (Phase.HALTED, Phase.ENDED):
            # Its node may be writing still: nothing but the end may follow while that is settled.
            await run.write(lambda n: TaskHalted(n=n, at_ms=now_ms(), reason=request.reason))
        found = await self._submissions.find(key)
        asked = TaskSubmitted(model=UNREADABLE) if found is None else found.asked
        end = ending.cancelled(run.state, run.state.model or asked.model, request.reason)
        end = await ending.settle(self._bus, key, metered(end, asked, run.state, self._tier_of))
        with contextlib.suppress(Superseded):
            await ending.close(self._bus, run, end)
        return CancelOutcome(task=key.task, outcome=closing(end).outcome)
