"""From an epoch's inputs and rules to what each device is given."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta, Struct

from streams.billing.money import PPM
from streams.rewards.epochs import EPOCH_MS
from streams.rewards.powers import power
from streams.tasks.chat import Count
from streams.tokens import Token

if TYPE_CHECKING:
    from streams.rewards.rules import RewardRules

_DIGITS: Final = 9
"""Of a stake's weight, so that a stake of 1 is not as much as one of 2."""

Name = Annotated[str, Meta(max_length=64)]


class WorkDone(Struct, frozen=True, kw_only=True):
    """Tasks of one kind that a device had a signed part in: ``success_ppm`` adds up its parts of each."""

    kind: Name
    success_ppm: Count


class DeviceInputs(Struct, frozen=True, kw_only=True):
    """What the log says of one device in an epoch."""

    node: Token
    owner: Name | None
    """Whose account is given the reward; None: nobody's, so it is given nothing."""
    machine: Name
    """What kind of device it is, as the operator attests."""
    cell: Name | None
    """Where it stands, as the operator attests; None: nobody said so, and density gives it no boost."""
    stake: Count
    here_ms: Count
    work: tuple[WorkDone, ...] = ()


class Reward(Struct, frozen=True, kw_only=True):
    """What one device is given for an epoch, and out of what that came about. Amounts: billionths of a unit."""

    node: Token
    owner: Name | None
    base_nano: int
    bonus_nano: int
    uptime_ppm: int
    """Rounded down, to be read; the base is computed from milliseconds."""
    stake_ppm: int
    """Its share of all weighted stake, rounded down, to be read."""
    score_ppm: int
    boost_ppm: int

    @property
    def amount_nano(self) -> int:
        """Base and bonus together."""
        return self.base_nano + self.bonus_nano


def rewards(rules: RewardRules, devices: tuple[DeviceInputs, ...]) -> tuple[Reward, ...]:
    """Return what each device with an owner is given, by name of the device. Each amount is rounded down, once.

    The order of ``devices`` makes no difference. All of them stand in their cell and share the pool, also those without
    an owner: nobody is given more because a neighbour forgot to say whose it is.
    """
    weights = {each.node: _weight(rules, each.stake) for each in devices}
    all_weights = sum(weights.values())
    neighbours = Counter(each.cell for each in devices)
    return tuple(
        _reward(rules, each, weights[each.node], all_weights, neighbours[each.cell])
        for each in sorted(devices, key=lambda one: one.node)
        if each.owner is not None
    )


def _weight(rules: RewardRules, stake: int) -> int:
    return (
        power(stake, rules.stake_exponent_numerator, rules.stake_exponent_denominator, digits=_DIGITS) if stake else 0
    )


def _reward(rules: RewardRules, device: DeviceInputs, weight: int, all_weights: int, neighbours: int) -> Reward:
    here_ms = min(device.here_ms, EPOCH_MS)
    score_ppm = _score_ppm(rules, device)
    boost_ppm = PPM if device.cell is None else rules.boost_ppm_of(neighbours)
    bonus = rules.pool_nano * weight * score_ppm * boost_ppm // (all_weights * PPM * PPM) if all_weights else 0
    return Reward(
        node=device.node,
        owner=device.owner,
        base_nano=rules.base_nano * here_ms * rules.multiplier_of(device.machine) // EPOCH_MS,
        bonus_nano=bonus,
        uptime_ppm=here_ms * PPM // EPOCH_MS,
        stake_ppm=weight * PPM // all_weights if all_weights else 0,
        score_ppm=score_ppm,
        boost_ppm=boost_ppm,
    )


def _score_ppm(rules: RewardRules, device: DeviceInputs) -> int:
    """1 + min(1, sum(weight x success) / ``tasks_for_double``), in millionths."""
    done = sum(rules.weight_ppm_of(each.kind) * each.success_ppm for each in device.work)
    return PPM + min(PPM, done // (rules.tasks_for_double * PPM))
