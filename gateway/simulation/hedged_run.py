"""A run in which a second device begins too where a first word is late (ADR 18), with the dispatcher's own reckoning.

Every task counts for urgent. A second device says that it has words, is given the task, and writes: three ways, where
whoever had the task from the start needs one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from gateway.scheduling.hedging import Allowance, FirstWords, is_urgent
from gateway.simulation.run import Run
from gateway.simulation.tally import Hedged
from streams.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.scheduling.placement import Placement
    from gateway.scheduling.policy import Policy
    from gateway.simulation.asked import Asked
    from gateway.simulation.device import Device
    from gateway.simulation.scenario import Scenario
    from gateway.simulation.trace import Conversation

_FLOOR_S = 0.5
"""The default of the setting ``hedge_after``."""


class HedgedRun(Run):
    """As ``Run``, with ``share`` of all attempts hedged at most."""

    def __init__(
        self,
        scenario: Scenario,
        policy: Policy,
        conversations: Sequence[Conversation],
        devices: Iterable[Device],
        *,
        share: float,
    ) -> None:
        """``share`` is the setting ``hedge_share``."""
        super().__init__(scenario, policy, conversations, devices)
        self.hedged = self._hedged = Hedged(share=share)
        self._words = FirstWords(_FLOOR_S)
        self._allowance = Allowance(share)

    def _give(self, task: Asked, placement: Placement) -> None:
        super()._give(task, placement)
        self._allowance.earn()
        if task.device is None or task.is_hedged:
            return
        task.given_s, task.expected_s = self._agenda.now_s, placement.first_token_s
        wish = replace(task.wish(self._agenda.now_s), service_class="interactive")
        if task.expected_s is not None and placement.serving > 1 and is_urgent(wish, self._policy.name):
            patience = self._words.patience(task.device.name, task.model, expected_s=task.expected_s)
            self._agenda.after(patience.after_s, self._be_impatient, task, task.attempts)

    def _be_impatient(self, task: Asked, attempt: int) -> None:
        first, now_s = task.device, self._agenda.now_s
        if task.attempts != attempt or first is None or task.first_token_s is not None:
            return
        if self._waiting.is_anyone(task.turn.wish.model):
            return
        wish = replace(task.wish(now_s), beside=first.name)
        placement = self._place_wish(wish)
        if placement.node is None or not self._allowance.spend():
            return
        self._hedged.asked += 1
        device = self._devices[Token(placement.node)]
        task.is_hedged, task.second, task.second_job = True, device, None
        self._given[device.name][task.key] = task
        self.scheduler.take(device.name, placement.model, task.key, wish, now_s=now_s)
        self._agenda.after(device.rtt_s / 2, self._arrive_second, task, attempt, device, device.process)

    def _arrive_second(self, task: Asked, attempt: int, device: Device, process: int) -> None:
        if task.attempts != attempt or task.second is not device:
            return
        if not device.is_up or device.process != process:
            self._drop_second(task)
            return
        order = task.order(self._breaks_at(task, device, attempt + 1), self._stalls_s(task, device, attempt + 1))
        task.second_job = device.begin(order._replace(attempt=attempt + 1), self._agenda.now_s)
        self._agenda.after(device.rtt_s / 2, self._hear, device, process)
        self._plan(device)

    def _note_first_token(self, task: Asked, device: Device) -> None:
        if task.second is device:
            self._agenda.after(device.rtt_s / 2, self._be_ready, task, task.attempts, device)
            return
        if task.first_token_s is None and task.expected_s and not task.is_hedged:
            took_s = self._agenda.now_s + device.rtt_s / 2 - task.given_s
            self._words.note(device.name, task.model, took_s=took_s, expected_s=task.expected_s)
        super()._note_first_token(task, device)
        self._drop_second(task)

    def _be_ready(self, task: Asked, attempt: int, second: Device) -> None:
        """It has words, and the first one has none so far: it is given the task."""
        first = task.device
        if task.attempts != attempt or task.second is not second or first is None:
            return
        now_s, waited_s = self._agenda.now_s, self._agenda.now_s - task.given_s
        self._hedged.won += 1
        if task.expected_s:
            self._words.note(first.name, task.model, took_s=waited_s, expected_s=task.expected_s)
            expected_s = task.expected_s
            self.scheduler.outpaced(first.name, task.model, expected_s=expected_s, waited_s=waited_s, now_s=now_s)
        task.settle(0)
        self._release(task, first)
        self._stop_work(task, first)
        self._take_over(task)
        task.first_token_s = now_s + second.rtt_s - task.asked_s
        self._grant(task.model)

    def _take_over(self, task: Asked) -> None:
        task.attempts += 1
        task.device, task.job, task.second, task.second_job = task.second, task.second_job, None, None

    def _break_off(self, task: Asked, attempt: int, written: int, is_to_blame: bool, device: Device) -> None:
        if task.second is device:
            self._drop_second(task)
        else:
            self._fail(task, attempt, written, is_to_blame)

    def _fail(self, task: Asked, attempt: int, written: int, is_to_blame: bool) -> None:
        first, second = task.device, task.second
        if task.attempts != attempt or first is None:
            return
        if second is None or task.key not in second.jobs:
            self._drop_second(task)
            super()._fail(task, attempt, written, is_to_blame)
            return
        # Nobody has a word so far: the second one goes on with the task.
        task.settle(written)
        if is_to_blame:
            self.scheduler.failed(first.name, now_s=self._agenda.now_s)
        self._release(task, first)
        task.avoid |= {first.name}
        self._take_over(task)
        if second.jobs[task.key].has_read:
            task.first_token_s = self._agenda.now_s + second.rtt_s - task.asked_s
        self._grant(task.model)

    def _drop_second(self, task: Asked) -> None:
        second, task.second, task.second_job = task.second, None, None
        if second is None:
            return
        self._release(task, second)
        self._stop_work(task, second)
        self._grant(task.model)

    def _stop_work(self, task: Asked, device: Device) -> None:
        if task.key in device.jobs:
            device.advance(self._agenda.now_s)
            device.drop(task.key)
            self._plan(device)
            if device.is_draining and not device.jobs:
                self._leave(device)
