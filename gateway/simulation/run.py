"""The loop: tasks come, the real scheduler places them, devices answer them in their own time, and come and go."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from gateway.scheduling.scheduler import Scheduler
from gateway.simulation.agenda import Agenda
from gateway.simulation.asked import Asked
from gateway.simulation.device import HEARTBEAT_S
from gateway.simulation.tally import summarise
from gateway.simulation.waiting import Waiting
from streams.devices.roster import MISSED_REPORTS
from streams.tasks.chat import Usage
from streams.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.scheduling.placement import Placement
    from gateway.scheduling.policy import Policy
    from gateway.scheduling.stint import Stint
    from gateway.scheduling.wish import Wish
    from gateway.simulation.device import Device, Stage
    from gateway.simulation.scenario import Scenario
    from gateway.simulation.tally import Hedged, Outcome, Summary
    from gateway.simulation.trace import Conversation, Turn
    from streams.subjects import TaskKey

_NOTICED_AFTER_S: Final = MISSED_REPORTS * HEARTBEAT_S


class Run:
    """One scenario under one policy, once."""

    def __init__(
        self, scenario: Scenario, policy: Policy, conversations: Sequence[Conversation], devices: Iterable[Device]
    ) -> None:
        """Devices are changed by it: make them anew for each run."""
        self.outcomes: list[Outcome] = []
        self.placements = 0
        self.hedged: Hedged | None = None
        self.scheduler = Scheduler(policy=policy)
        self._scenario = scenario
        self._policy = policy
        self._agenda = Agenda()
        self._waiting: Waiting[Asked] = Waiting()
        self._devices = {device.name: device for device in devices}
        self._given: dict[str, dict[TaskKey, Asked]] = {name: {} for name in self._devices}
        self._dice = {name: random.Random(f"{scenario.seed}/churn/{name}") for name in self._devices}
        self._tasks = sum(len(each.turns) for each in conversations)
        for conversation in conversations:
            first, *later = conversation.turns
            self._agenda.after(conversation.at_s, self._ask, first, tuple(later))
        for device in self._devices.values():
            self.scheduler.observe(device.view(0.0))
            self._agenda.after(self._dice[device.name].uniform(0, HEARTBEAT_S), self._beat, device, device.process)
            self._let_go_later(device)

    def finish(self) -> Summary:
        """Run until every task has ended."""
        while len(self.outcomes) < self._tasks:
            self._agenda.step()
        return summarise(
            self.outcomes,
            scenario=self._scenario.name,
            policy=self._policy.name,
            nodes=len(self._devices),
            placements=self.placements,
            hedging=self.hedged,
        )

    # --- a task ----------------------------------------------------------------------------------------------------

    def _ask(self, turn: Turn, later: tuple[Turn, ...]) -> None:
        self._seek(Asked(turn, later, self._agenda.now_s))

    def _seek(self, task: Asked) -> None:
        """Place it now if a slot is free and nobody waits before it; else it waits."""
        placement = self._place(task)
        model = task.turn.wish.model
        if placement.node is not None and not self._waiting.is_anyone(model):
            self._give(task, placement)
            return
        task.is_waiting = True
        self._waiting.add(model, task.turn.service_class, task.key.account, task)
        self._agenda.after(self._scenario.patience_s, self._give_up, task, task.attempts)
        if placement.node is not None:
            self._grant(model)

    def _place(self, task: Asked) -> Placement:
        return self._place_wish(task.wish(self._agenda.now_s))

    def _place_wish(self, wish: Wish) -> Placement:
        self.placements += 1
        return self.scheduler.place(wish, now_s=self._agenda.now_s)

    def _give(self, task: Asked, placement: Placement) -> None:
        if placement.node is None:
            return
        now_s, device = self._agenda.now_s, self._devices[Token(placement.node)]
        task.is_waiting = False
        task.attempts += 1
        task.device, task.model, task.job = device, placement.model, None
        self._given[device.name][task.key] = task
        self.scheduler.take(device.name, task.model, task.key, task.wish(now_s), now_s=now_s)
        self.scheduler.sent(device.name, task.model, task.key, now_s=now_s)
        self._agenda.after(device.rtt_s / 2, self._arrive, task, task.attempts, device, device.process)

    def _give_up(self, task: Asked, attempts: int) -> None:
        if task.is_waiting and task.attempts == attempts:
            self._waiting.remove(task.turn.wish.model, task.turn.service_class, task.key.account, task)
            self._end(task, is_completed=False)

    def _arrive(self, task: Asked, attempt: int, device: Device, process: int) -> None:
        if task.attempts != attempt or task.device is not device:
            return
        if device.has_left:
            self._agenda.after(device.rtt_s / 2, self._fail, task, attempt, 0, False)
        elif device.is_up and device.process == process:
            order = task.order(self._breaks_at(task, device, attempt), self._stalls_s(task, device, attempt))
            task.job = device.begin(order, self._agenda.now_s)
            self._agenda.after(device.rtt_s / 2, self._hear, device, process)
            self._plan(device)

    def _breaks_at(self, task: Asked, device: Device, attempt: int) -> float | None:
        # Drawn by the attempt itself, so that policies do not shift each other's chances.
        dice = random.Random(f"{self._scenario.seed}/{task.key.account}/{task.key.task}/{attempt}")
        return dice.random() if dice.random() < device.kind.fails else None

    def _stalls_s(self, task: Asked, device: Device, attempt: int) -> float:
        if not device.kind.stalls:
            return 0.0
        dice = random.Random(f"{self._scenario.seed}/stalls/{task.key.account}/{task.key.task}/{attempt}")
        return dice.uniform(*device.kind.stalls_s) if dice.random() < device.kind.stalls else 0.0

    def _complete(self, task: Asked, attempt: int) -> None:
        device, job = task.device, task.job
        if task.attempts != attempt or device is None or job is None:
            return
        task.settle(job.order.answer_tokens)
        stint = self._release(task, device)
        if stint is not None and attempt == 1:
            usage = Usage(
                prompt_tokens=job.order.prompt_tokens,
                completion_tokens=job.order.answer_tokens,
                cached_prompt_tokens=job.cached_tokens,
            )
            self.scheduler.completed(stint, usage)
        self._end(task, is_completed=True)
        self._grant(task.model)

    def _fail(self, task: Asked, attempt: int, written: int, is_to_blame: bool) -> None:
        device = task.device
        if task.attempts != attempt or device is None:
            return
        task.settle(written)
        if is_to_blame:
            self.scheduler.failed(device.name, now_s=self._agenda.now_s)
        self._release(task, device)
        task.device = None
        task.avoid |= {device.name}
        if task.attempts < self._scenario.max_attempts:
            self._seek(task)
        else:
            self._end(task, is_completed=False)
        self._grant(task.model)

    def _release(self, task: Asked, device: Device) -> Stint | None:
        del self._given[device.name][task.key]
        return self.scheduler.release(device.name, task.model, task.key, now_s=self._agenda.now_s)

    def _grant(self, model: str) -> None:
        if self._waiting.is_anyone(model):
            self._waiting.grant(model, self._place, self._give)

    def _end(self, task: Asked, *, is_completed: bool) -> None:
        self.outcomes.append(task.outcome(self._agenda.now_s, is_completed=is_completed))
        if task.later:
            following, *later = task.later
            self._agenda.after(following.think_s, self._ask, following, tuple(later))

    # --- a device --------------------------------------------------------------------------------------------------

    def _plan(self, device: Device) -> None:
        mark = device.next_mark()
        if mark is not None:
            at_s, key, stage = mark
            self._agenda.after(at_s - self._agenda.now_s, self._get_on, device, device.version, key, stage)

    def _get_on(self, device: Device, version: int, key: TaskKey, stage: Stage) -> None:
        if device.version != version:
            return
        device.advance(self._agenda.now_s)
        task, job = self._given[device.name][key], device.jobs[key]
        way_s = device.rtt_s / 2
        match stage:
            case "read":
                device.has_read(key)
                self._note_first_token(task, device)
            case "broken":
                device.drop(key)
                written = job.tokens_written(device.done)
                self._agenda.after(way_s, self._break_off, task, job.order.attempt, written, True, device)
            case "written":
                device.drop(key)
                self._agenda.after(way_s, self._complete, task, job.order.attempt)
        self._plan(device)
        if device.is_draining and not device.jobs:
            self._leave(device)

    def _note_first_token(self, task: Asked, device: Device) -> None:
        if task.first_token_s is None:
            task.first_token_s = self._agenda.now_s + device.rtt_s / 2 - task.asked_s

    def _break_off(self, task: Asked, attempt: int, written: int, is_to_blame: bool, device: Device) -> None:
        """A device does not go on with an attempt."""
        self._fail(task, attempt, written, is_to_blame)

    def _beat(self, device: Device, process: int) -> None:
        if device.is_up and device.process == process:
            self._hear(device, process)
            self._agenda.after(HEARTBEAT_S, self._beat, device, process)

    def _hear(self, device: Device, process: int) -> None:
        if not device.is_up or device.process != process:
            return
        self.scheduler.observe(device.view(self._agenda.now_s))
        for model in device.replicas:
            self._grant(model)

    # --- coming and going ------------------------------------------------------------------------------------------

    def _let_go_later(self, device: Device) -> None:
        churn, dice = self._scenario.churn, self._dice[device.name]
        if churn is not None:
            goes = self._crash if dice.random() < churn.crash_share else self._drain
            self._agenda.after(dice.expovariate(1 / churn.up_s), goes, device)

    def _crash(self, device: Device) -> None:
        device.advance(self._agenda.now_s)
        written = {key: job.tokens_written(device.done) for key, job in device.jobs.items()}
        device.stop(self._agenda.now_s)
        self._agenda.after(_NOTICED_AFTER_S, self._notice, device, device.process, written)
        self._return_later(device, written)

    def _drain(self, device: Device) -> None:
        device.is_draining = True
        self._agenda.after(device.rtt_s / 2, self._hear, device, device.process)
        if not device.jobs:
            self._leave(device)

    def _leave(self, device: Device) -> None:
        device.stop(self._agenda.now_s)
        device.has_left = True
        self.scheduler.observe(device.view(self._agenda.now_s, is_lost=True))
        self._return_later(device, {})

    def _return_later(self, device: Device, written: dict[TaskKey, int]) -> None:
        churn = self._scenario.churn
        if churn is not None:
            wait_s = self._dice[device.name].expovariate(1 / churn.down_s)
            self._agenda.after(wait_s, self._return, device, written)

    def _notice(self, device: Device, process: int, written: dict[TaskKey, int]) -> None:
        """It has been silent for too long: what it was given goes to others."""
        if device.is_up or device.process != process:
            return
        self.scheduler.observe(device.view(self._agenda.now_s, is_lost=True))
        self._fail_all(device, written)

    def _return(self, device: Device, written: dict[TaskKey, int]) -> None:
        device.start(self._agenda.now_s)
        self._fail_all(device, written)
        self._hear(device, device.process)
        self._agenda.after(HEARTBEAT_S, self._beat, device, device.process)
        self._let_go_later(device)

    def _fail_all(self, device: Device, written: dict[TaskKey, int]) -> None:
        for task in tuple(self._given[device.name].values()):
            self._break_off(task, task.attempts, written.get(task.key, 0), True, device)
