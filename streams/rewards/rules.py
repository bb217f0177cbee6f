"""The rules of rewards as data. A version is never changed, only followed by another."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Final

from msgspec import Meta, Struct

from streams.billing.money import PPM, Currency
from streams.errors import InvalidRewardRules
from streams.rewards.powers import MOST_ROOT

MOST_NANO: Final = 2**53 - 1
"""The largest amount in rules: exact in every language's numbers, 9 million units."""

_MOST_REWARD_NANO: Final = 2**62
"""So that an event can say it, and a sum of two as well."""

Name = Annotated[str, Meta(min_length=1, max_length=32, pattern="^[A-Za-z0-9._-]{1,32}$")]
Amount = Annotated[int, Meta(ge=0, le=MOST_NANO)]
Ppm = Annotated[int, Meta(ge=0, le=1000 * PPM)]


class Machine(Struct, frozen=True, kw_only=True):
    """A kind of device, and how much of the base it is given."""

    name: Name
    multiplier: Annotated[int, Meta(ge=0, le=1000)]


class TaskWeight(Struct, frozen=True, kw_only=True):
    """What a task of a kind counts, in millionths of a whole one."""

    kind: Name
    weight_ppm: Ppm


class Density(Struct, frozen=True, kw_only=True):
    """The boost of a device in whose cell there are so many, or fewer; the last step is for all larger cells."""

    devices_most: Annotated[int, Meta(ge=1, le=10**9)] | None = None
    boost_ppm: Ppm


def _once(what: str, names: list[str]) -> None:
    twice = next((name for at, name in enumerate(names) if name in names[:at]), None)
    if twice is not None:
        raise InvalidRewardRules(f"The {what} {twice!r} stands there twice: keep one of them.")


class RewardRules(Struct, frozen=True, kw_only=True):
    """One version. Amounts are billionths of the currency's unit.

    base = ``base_nano`` x uptime x the machine's multiplier. bonus = ``pool_nano`` x the share of
    stake ** (numerator / denominator) x the score of tasks x the boost of density, where the score is
    1 + min(1, sum(weight x success) / ``tasks_for_double``).
    """

    version: Name
    currency: Currency
    base_nano: Amount
    machines: Annotated[tuple[Machine, ...], Meta(min_length=1, max_length=64)]
    pool_nano: Amount
    stake_exponent_numerator: Annotated[int, Meta(ge=0, le=MOST_ROOT)]
    stake_exponent_denominator: Annotated[int, Meta(ge=1, le=MOST_ROOT)]
    tasks_for_double: Annotated[int, Meta(ge=1, le=10**9)]
    weights: Annotated[tuple[TaskWeight, ...], Meta(max_length=64)]
    density: Annotated[tuple[Density, ...], Meta(min_length=1, max_length=64)]

    def multiplier_of(self, machine: str) -> int:
        """How often a kind of device is given the base; 0 where the rules do not know it."""
        return next((each.multiplier for each in self.machines if each.name == machine), 0)

    def weight_ppm_of(self, kind: str) -> int:
        """What a task of this kind counts; 0 where the rules do not know it."""
        return next((each.weight_ppm for each in self.weights if each.kind == kind), 0)

    def boost_ppm_of(self, devices: int) -> int:
        """The boost of a device in a cell with so many devices, itself among them."""
        steps = (each for each in self.density if each.devices_most is None or devices <= each.devices_most)
        return next((each.boost_ppm for each in steps), PPM)


def check(rules: RewardRules) -> None:
    """Refuse rules that contradict themselves. What is stored is taken as it is: it was checked before.

    Raises:
        InvalidRewardRules: with what is wrong.
    """
    _once("machine", [each.name for each in rules.machines])
    _once("weight", [each.kind for each in rules.weights])
    most_nano = rules.base_nano * max(each.multiplier for each in rules.machines)
    most_nano += 2 * rules.pool_nano * max(each.boost_ppm for each in rules.density) // PPM
    if most_nano > _MOST_REWARD_NANO:
        raise InvalidRewardRules(
            f"One device could be given {most_nano} billionths of a unit, and no event can say more than "
            f"{_MOST_REWARD_NANO}: take a smaller base, multiplier, pool or boost."
        )
    bounds = [each.devices_most for each in rules.density]
    if bounds[-1] is not None or any(bound is None for bound in bounds[:-1]):
        raise InvalidRewardRules(
            "The last step of density, and only that one, has no devices_most: it is for all larger cells."
        )
    if any(first >= then for first, then in pairwise(bound for bound in bounds if bound is not None)):
        raise InvalidRewardRules("The steps of density must go up: sort them by devices_most.")


IG3_RULES: Final = RewardRules(
    version="ig3-1",
    currency="IG3",
    base_nano=2_333 * 10**9,
    machines=(Machine(name="M1", multiplier=1), Machine(name="M1E", multiplier=8)),
    pool_nano=1_000_000 * 10**9,
    stake_exponent_numerator=4,
    stake_exponent_denominator=5,
    tasks_for_double=10,
    weights=(TaskWeight(kind="chat", weight_ppm=PPM), TaskWeight(kind="embedding", weight_ppm=PPM // 10)),
    density=(
        Density(devices_most=1, boost_ppm=1_500_000),
        Density(devices_most=5, boost_ppm=1_250_000),
        Density(devices_most=20, boost_ppm=1_100_000),
        Density(boost_ppm=PPM),
    ),
)
"""The rules that ``ig3 rewards rules`` begins with.

Base, multipliers, exponent and score are those of the iG3 network; the size of the pool, the weights of kinds and the
steps of density are an example, which an operator replaces.
"""
