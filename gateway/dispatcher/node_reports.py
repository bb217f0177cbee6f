"""What nodes say to the dispatcher of a task: finished, refused, and "is it still mine?".

All of it is a hint: the stream decides what is true.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from gateway.dispatcher.task_run import Superseded, Verdict, failed
from gateway.requests import Desk
from mesh.bus.task_log import decoded, refuse_newer
from mesh.errors import BusError
from streams import subjects
from streams.messages import Ask, Finished, Refused, Standing
from streams.subjects import TaskKey
from streams.tasks.task import Phase, TaskState, fold
from streams.tasks.task_id import parse_task_id
from streams.tokens import Token, token

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.dispatcher.life import TaskLife
    from gateway.dispatcher.race import News
    from mesh.bus.direct_client import Delivery
    from mesh.bus.service_bus import Bus

log = logging.getLogger(__name__)

_QUEUE: Final = "dispatchers"
_LAST_ORDER: Final = 3
"""How often an order is repeated that the node does not take up."""


class NodeReports:
    """Hears all nodes; acts on what is about this dispatcher's own tasks."""

    def __init__(self, bus: Bus, lives: Mapping[TaskKey, TaskLife], name: str) -> None:
        """Prepare; ``lives`` are this dispatcher's tasks."""
        self._bus = bus
        self._lives = lives
        self._name = name
        self._desk = Desk(bus.edge)

    async def start(self) -> None:
        """Begin to listen."""
        serve, ask = self._desk.serve, subjects.node_api_all("ask")
        await serve(subjects.node_api_all("finished"), Finished, self._on_finished, is_report=True)
        await serve(subjects.node_api_all("refused"), Refused, self._on_refused, is_report=True)
        await serve(ask, Ask, self._renew, is_report=True)
        await serve(ask, Ask, self._answer, queue=_QUEUE, inbox_of=subjects.inbox_of_node_call)

    async def stop(self) -> None:
        """Stop listening."""
        await self._desk.stop()

    def look_again(self, life: TaskLife) -> None:
        """Find out what became of an order that the node does not list: done, or never received."""
        life.posting.is_looked_at()
        self._desk.spawn(self._look_again(life))

    async def _look_again(self, life: TaskLife) -> None:
        record = life.record
        try:
            await record.read()
        except Superseded as error:
            record.decide(Verdict(kind="superseded", reason=str(error)))
            return
        except BusError as error:
            log.warning("task %s cannot be looked at now: %s", record.key.task, error)
            return
        if record.state.phase is Phase.WRITTEN:
            record.decide(Verdict(kind="finished"))
        elif life.posting.orders_repeated >= _LAST_ORDER:
            record.decide(failed("node_unresponsive", f"{life.posting.node} does not take up the task"))
        else:
            life.posting.orders_repeated += 1
            life.hand_over()

    async def _on_finished(self, delivery: Delivery, report: Finished) -> None:
        if report.dispatcher == self._name and (life := self._life_of(delivery, report)):
            life.record.decide(Verdict(kind="finished"))

    async def _on_refused(self, delivery: Delivery, report: Refused) -> None:
        if report.dispatcher == self._name and (life := self._life_of(delivery, report)):
            verdict = failed(report.code, report.message, status=report.status, signature=report.signature)
            life.record.decide(verdict)
        else:
            self._tell_race(delivery, report, "gone")

    async def _renew(self, delivery: Delivery, ask: Ask) -> None:
        """A node of ours lost its footing, perhaps by a reconnect, and its right to write with it: renew that."""
        if life := self._life_of(delivery, ask):
            try:
                await life.record.read()
            except Superseded as error:
                life.record.decide(Verdict(kind="superseded", reason=str(error)))
            else:
                life.hand_over()
        elif ask.hedge:
            self._tell_race(delivery, ask, "ready")

    def _tell_race(self, delivery: Delivery, report: Refused | Ask, news: News) -> None:
        """Pass on what a node says of an attempt that it was not assigned: it may have been asked beside another."""
        if life := self._lives.get(TaskKey(Token(report.account), Token(report.task))):
            life.race.hear(subjects.parse_call(delivery.subject).caller, report.attempt, news)

    async def _answer(self, delivery: Delivery, ask: Ask) -> Standing:
        node = subjects.parse_call(delivery.subject).caller
        key = TaskKey(token(ask.account), parse_task_id(ask.task))
        stored = await self._bus.log.read_current(key)
        state = fold((writer, event) for _, writer, event in decoded(stored))
        refuse_newer(key, stored, state.n)
        if ask.hedge and _is_undecided(state, node, ask.attempt):
            return Standing(yours=False, undecided=True, reason="the node that has the task has written nothing so far")
        return _standing(state, node, ask.attempt, stored[-1].sequence if stored else 0)

    def _life_of(self, delivery: Delivery, report: Finished | Refused | Ask) -> TaskLife | None:
        node = subjects.parse_call(delivery.subject).caller
        if report.account:
            life = self._lives.get(TaskKey(Token(report.account), Token(report.task)))
        else:
            life = self._only_life_of(node, report.task)
        if life is None or life.posting.node != node:
            return None
        return life if life.record.state.attempt == report.attempt else None

    def _only_life_of(self, node: Token, task: str) -> TaskLife | None:
        """Find what an old node means, which does not say whose task it is: nothing, where it has two of that id."""
        found = [life for key, life in self._lives.items() if key.task == task and life.posting.node == node]
        return found[0] if len(found) == 1 else None


def _is_undecided(state: TaskState, node: str, attempt: int) -> bool:
    """Whether the next attempt may still become a node's that began it beside the one that has the task."""
    has_words = any(share.chars or share.tokens for share in state.shares[-1:])
    return state.phase is Phase.RUNNING and state.attempt + 1 == attempt and state.node != node and not has_words


def _standing(state: TaskState, node: str, attempt: int, last_sequence: int) -> Standing:
    if state.node != node or state.attempt != attempt:
        return Standing(yours=False, reason="the attempt is not the current one")
    if state.phase not in (Phase.RUNNING, Phase.WRITTEN):
        return Standing(yours=False, reason=f"the task is {state.phase}")
    written = state.phase is Phase.WRITTEN
    return Standing(yours=True, next_n=state.n + 1, last_sequence=last_sequence, chars=state.chars, written=written)
