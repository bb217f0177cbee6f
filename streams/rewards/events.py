"""The part of the event catalogue that the book of rewards holds (``books.rewards`` on BILLING).

An epoch's inputs are stored before anything is granted out of them. So what was granted can be computed again, and by
other rules as well, after the logs that the inputs were read from have gone.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from streams.billing.events import Previous
from streams.billing.money import Currency, NotNegative
from streams.event import Event
from streams.rewards.computing import DeviceInputs, Reward
from streams.rewards.rules import Name, RewardRules
from streams.tokens import Token

MOST_DEVICES = 500
"""Devices in one event: with all that is said of them well below the broker's largest message, 1 MB."""

_Words = Annotated[str, Meta(max_length=512)]
_Epoch = Annotated[int, Meta(ge=0, le=1_000_000)]
_Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]


class RewardRulesSet(Event, frozen=True, kw_only=True, tag="reward.rules_set.v1"):
    """Rules hold from an epoch on. An epoch goes by the last that were set for it, or for one before."""

    at_ms: int
    previous: Previous = ""
    rules: RewardRules
    from_epoch: _Epoch
    by: _Words = ""


class RewardMachineSet(Event, frozen=True, kw_only=True, tag="reward.machine_set.v1"):
    """What kind of device a node is and where it stands, as the operator attests: its own word counts for nothing."""

    at_ms: int
    previous: Previous = ""
    node: Token
    machine: Name
    cell: Annotated[str, Meta(max_length=64)] | None = None
    by: _Words = ""


class RewardInputs(Event, frozen=True, kw_only=True, tag="reward.inputs.v1"):
    """What the logs say of devices in an epoch, a part of several. The first whole set of parts counts."""

    at_ms: int
    previous: Previous = ""
    epoch: _Epoch
    take: Annotated[str, Meta(max_length=64)]
    """Which reading of the logs it is of: two that run at once do not mix."""
    part: _Count
    parts: Annotated[int, Meta(ge=1, le=10_000)]
    devices: Annotated[tuple[DeviceInputs, ...], Meta(max_length=MOST_DEVICES)]


class RewardGranted(Event, frozen=True, kw_only=True, tag="reward.granted.v1"):
    """What devices are given for an epoch, out of the account ``rewards``: a part of several."""

    at_ms: int
    previous: Previous = ""
    epoch: _Epoch
    version: Name
    """Of the rules."""
    currency: Currency
    rewards: Annotated[tuple[Reward, ...], Meta(max_length=MOST_DEVICES)]


class RewardEpochClosed(Event, frozen=True, kw_only=True, tag="reward.epoch_closed.v1"):
    """Everybody has what an epoch gives them."""

    at_ms: int
    previous: Previous = ""
    epoch: _Epoch
    version: Name
    devices: _Count
    base_nano: NotNegative
    bonus_nano: NotNegative


RewardEvent = RewardRulesSet | RewardMachineSet | RewardInputs | RewardGranted | RewardEpochClosed
"""All that ``books.rewards`` may hold."""
