"""Having a share of greedy answers written once more, by another node with the same engine, and comparing (ADR 14).

What is asked again is a task like any other: of the lowest class, under an account of the mesh's own, with an end of
its own. Whoever dispatches it compares. Where two answers differ, a third node says which of them is wrong; where none
does, both are noted as undecided. One difference is no proof, so nobody is suspended over it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec.structs import replace

from gateway.scheduling.filters import runs_alike
from mesh.errors import MeshError
from streams import subjects
from streams.clock import now_ms
from streams.codec import encode
from streams.devices.events import DeviceChecked
from streams.events import CheckOf, TaskChunk, TaskCompleted, TaskSubmitted
from streams.subjects import CHECKS, TaskKey
from streams.tasks.answer_parts import ToolCallPiece, joined_calls
from streams.tasks.task import Rejection, TaskState, advance
from streams.tasks.task_id import new_task_id
from streams.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from gateway.dispatcher.result_check import ResultCheck
    from gateway.dispatcher.task_run import TaskRun
    from gateway.roster.feed import RosterFeed
    from mesh.bus.service_bus import Bus
    from mesh.identity.device_log import DeviceLog
    from streams.events import EndEvent
    from streams.tasks.chat import Usage

log = logging.getLogger(__name__)

_WITHIN: Final = timedelta(minutes=30)
"""A check that finds no free slot for so long is given up."""

_dice: Final = random.SystemRandom()
"""No node shall be able to tell which of its answers will be checked."""


class Checks(NamedTuple):
    """How answers are checked: each before its task ends, some once more afterwards."""

    results: ResultCheck
    spots: SpotChecks


class Answer(NamedTuple):
    """What a node made of a question."""

    text: str
    usage: Usage
    calls: tuple[ToolCallPiece, ...] = ()


def difference(one: Answer, other: Answer) -> str:
    """Say where two answers differ, without a word of them; empty if they do not."""
    if one.text != other.text:
        place = next((at for at, (a, b) in enumerate(zip(one.text, other.text, strict=False)) if a != b), None)
        at = min(len(one.text), len(other.text)) if place is None else place
        return f"the texts differ at character {at} of {len(one.text)}"
    # The ids of calls are made up anew each time.
    called, other_called = ([(call.name, call.arguments) for call in answer.calls] for answer in (one, other))
    if called != other_called:
        return f"the calls differ: {len(called)} of functions here, {len(other_called)} there"
    for what in ("prompt_tokens", "completion_tokens"):
        counts: tuple[int, int] = (getattr(one.usage, what), getattr(other.usage, what))
        if counts[0] != counts[1]:
            return f"{counts[0]} {what.replace('_', ' ')}, the other counts {counts[1]}"
    return ""


class SpotChecks:
    """Draws answers, and judges those that were written once more."""

    def __init__(self, bus: Bus, feed: RosterFeed, devices: DeviceLog, share: float) -> None:
        """Check ``share`` of all greedy answers, 0 to 1."""
        self._bus = bus
        self._feed = feed
        self._devices = devices
        self._share = share
        self._tasks: set[asyncio.Task[None]] = set()

    async def stop(self) -> None:
        """Draw and judge no more; what is under way is left."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def note_end(self, record: TaskRun, asked: TaskSubmitted, end: EndEvent) -> None:
        """Take note of a task that was ended here."""
        if record.key.account == CHECKS:
            if asked.check_of is not None:
                self._spawn(self._judge(record, asked, asked.check_of, end))
        elif (check := self._drawn(record, asked, end)) is not None:
            self._spawn(self._ask(asked, check))

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(_logged(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- asking once more --------------------------------------------------------------------------------------------

    def _drawn(self, record: TaskRun, asked: TaskSubmitted, end: EndEvent) -> CheckOf | None:
        if not self._share or asked.sampling.temperature != 0 or _dice.random() >= self._share:
            return None
        if not isinstance(end, TaskCompleted) or len(end.shares) != 1 or not end.shares[0].chars:
            return None
        node = end.shares[0].node
        view = self._feed.roster.node(Token(node), now_s=self._feed.now_s())
        replica = None if view is None else view.replica_of(asked.model)
        if replica is None:
            return None
        key = record.key
        check = CheckOf(
            account=key.account,
            task=key.task,
            node=node,
            engine=replica.engine,
            quantisation=replica.quantisation,
        )
        return check if self._can_be_written(asked.model, check) else None

    def _can_be_written(self, model: str, check: CheckOf) -> bool:
        """Whether there is somebody to write the answer once more."""
        for view in self._feed.roster.serving(model, now_s=self._feed.now_s()):
            replica = view.replica_of(model)
            is_another = view.is_live and view.node not in {check.node, check.other}
            if is_another and replica is not None and runs_alike(replica, check):
                return True
        return False

    async def _ask(self, asked: TaskSubmitted, check: CheckOf) -> None:
        key = TaskKey(CHECKS, new_task_id())
        deadline_at_ms = now_ms() + round(_WITHIN.total_seconds() * 1000)
        again = TaskSubmitted(
            model=asked.model,
            messages=asked.messages,
            prompt=asked.prompt,
            sampling=asked.sampling,
            deadline_at_ms=deadline_at_ms,
            check_of=check,
            tools=asked.tools,
            format=asked.format,
            # What must not leave a region, or its owner's devices, must not for a check either.
            rules=asked.rules,
        )
        log.info("an answer of %s is checked, as task %s", check.node, key.task)
        await self._bus.edge.append(subjects.submitted("batch", key), encode(again))

    # --- judging -----------------------------------------------------------------------------------------------------

    async def _judge(self, record: TaskRun, asked: TaskSubmitted, check: CheckOf, end: EndEvent) -> None:
        if not isinstance(end, TaskCompleted) or len(end.shares) != 1:
            await self._leave_undecided(check, "no third node has written the answer")
            return
        first = await self._answer(TaskKey(Token(check.account), Token(check.task)))
        if first is None:
            log.info("the answer of task %s is no longer there to be checked", check.task)
            return
        own = Answer("".join(record.text), end.usage, joined_calls(record.calls))
        writer, detail = end.shares[0].node, difference(first, own)
        if check.other is not None:
            await self._decide(check, check.other, writer, first, own)
        elif not detail:
            await self._note(check.node, check.task, writer)
        else:
            await self._ask_a_third(asked, replace(check, other=writer, other_task=record.key.task), detail)

    async def _ask_a_third(self, asked: TaskSubmitted, check: CheckOf, detail: str) -> None:
        if self._can_be_written(asked.model, check):
            await self._ask(asked, check)
        else:
            await self._leave_undecided(check, detail)

    async def _decide(self, check: CheckOf, other: str, third: str, first: Answer, own: Answer) -> None:
        second = await self._answer(TaskKey(CHECKS, Token(check.other_task or "")))
        if not difference(first, own):
            await self._note(check.node, check.task, third)
            if second is not None:
                await self._note(other, check.other_task or "", third, difference(second, own))
        elif second is not None and not difference(second, own):
            await self._note(check.node, check.task, third, difference(first, own))
            await self._note(other, check.other_task or "", third)
        else:
            await self._leave_undecided(check, "all three answers differ")

    async def _leave_undecided(self, check: CheckOf, detail: str) -> None:
        if check.other is None or check.other_task is None:
            return
        await self._note(check.node, check.task, check.other, detail, undecided=True)
        await self._note(check.other, check.other_task, check.node, detail, undecided=True)

    async def _note(self, node: str, task: str, other: str, detail: str = "", *, undecided: bool = False) -> None:
        if detail:
            log.warning("%s answered task %s unlike %s: %s", node, task, other, detail)
        event = DeviceChecked(
            at_ms=now_ms(),
            node=node,
            task=task,
            other=other,
            agreed=not detail,
            detail=detail,
            undecided=undecided,
        )
        await self._devices.checked(event)

    async def _answer(self, key: TaskKey) -> Answer | None:
        """Read what one node, and no other, has written of a task; None if it is not there."""
        state, texts, calls = TaskState(), list[str](), list[ToolCallPiece]()
        for _, writer, event in await self._bus.log.read(key):
            following = advance(state, writer, event)
            if isinstance(following, Rejection):
                continue
            state = following
            if isinstance(event, TaskChunk):
                texts.append(event.text)
                calls.extend(event.tool_calls)
        if state.usage is None or len(state.shares) != 1:
            return None
        return Answer("".join(texts), state.usage, joined_calls(calls))


async def _logged(work: Coroutine[object, object, None]) -> None:
    """A check that fails costs nobody anything but the check."""
    try:
        await work
    except MeshError as error:
        log.warning("a spot check came to nothing: %s", error)
