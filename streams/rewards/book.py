"""What ``books.rewards`` adds up to: rules, machines, and of each epoch its inputs and what was granted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.rewards.events import RewardEpochClosed, RewardGranted, RewardInputs, RewardMachineSet, RewardRulesSet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.billing.log import AnyBillingEvent
    from streams.rewards.computing import DeviceInputs, Reward
    from streams.rewards.rules import RewardRules
    from streams.tokens import Token


class RewardBook:
    """The fold. Events of other kinds are passed over."""

    def __init__(self, events: Iterable[AnyBillingEvent] = ()) -> None:
        """Fold ``events``, in their order."""
        self.rules: list[RewardRulesSet] = []
        self.machines: dict[Token, RewardMachineSet] = {}
        self.closed: dict[int, RewardEpochClosed] = {}
        self._takes: dict[tuple[int, str], dict[int, RewardInputs]] = {}
        self._inputs: dict[int, tuple[DeviceInputs, ...]] = {}
        self._granted: dict[int, dict[Token, Reward]] = {}
        self._version: dict[int, str] = {}
        for event in events:
            self.apply(event)

    def apply(self, event: AnyBillingEvent) -> None:
        """Fold one event."""
        match event:
            case RewardRulesSet():
                self.rules.append(event)
            case RewardMachineSet():
                self.machines[event.node] = event
            case RewardInputs():
                self._take(event)
            case RewardGranted():
                self._version.setdefault(event.epoch, event.version)
                granted = self._granted.setdefault(event.epoch, {})
                for each in event.rewards:
                    granted.setdefault(each.node, each)
            case RewardEpochClosed():
                self.closed.setdefault(event.epoch, event)
            case _:
                return

    def rules_of(self, epoch: int) -> RewardRules | None:
        """The rules that an epoch goes by: those that it was granted by, or else the last that were set for it."""
        if (version := self._version.get(epoch)) is not None:
            return self.version(version)
        return next((each.rules for each in reversed(self.rules) if each.from_epoch <= epoch), None)

    def version(self, name: str) -> RewardRules | None:
        """The rules of this version; the first of a name counts."""
        return next((each.rules for each in self.rules if each.rules.version == name), None)

    def inputs(self, epoch: int) -> tuple[DeviceInputs, ...] | None:
        """What was read from the logs for an epoch; None: nothing whole yet."""
        return self._inputs.get(epoch)

    def granted(self, epoch: int) -> tuple[Reward, ...]:
        """What devices were given for an epoch so far, by name."""
        return tuple(each for _, each in sorted(self._granted.get(epoch, {}).items()))

    def _take(self, event: RewardInputs) -> None:
        if event.epoch in self._inputs:
            return
        parts = self._takes.setdefault((event.epoch, event.take), {})
        parts.setdefault(event.part, event)
        if len(parts) == event.parts:
            whole = (device for _, part in sorted(parts.items()) for device in part.devices)
            self._inputs[event.epoch] = tuple(whole)
