"""What golden files of rewards and payouts on BILLING mean: a part of ``tests.unit.golden_events``."""

from typing import get_args

from streams.payouts.events import (
    HOUR_MS,
    PayoutConfirmed,
    PayoutDestinationSet,
    PayoutFailed,
    PayoutPolicySet,
    PayoutReplaced,
    PayoutRequested,
    PayoutSent,
)
from streams.payouts.payout import DriverName
from streams.rewards.computing import DeviceInputs, Reward, WorkDone
from streams.rewards.events import RewardEpochClosed, RewardGranted, RewardInputs, RewardMachineSet, RewardRulesSet
from streams.rewards.rules import Density, Machine, RewardRules, TaskWeight
from streams.tokens import Token

_AT_MS = 1_767_225_600_123
_PREVIOUS = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
_NODE = Token("node-a")
_ADDRESS = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


REWARDS = {
    "reward.rules_set.v1": RewardRulesSet(
        at_ms=_AT_MS,
        previous=_PREVIOUS,
        from_epoch=2970,
        by="operator",
        rules=RewardRules(
            version="ig3-1",
            currency="IG3",
            base_nano=2_333_000_000_000,
            machines=(Machine(name="M1", multiplier=1), Machine(name="M1E", multiplier=8)),
            pool_nano=10**15,
            stake_exponent_numerator=4,
            stake_exponent_denominator=5,
            tasks_for_double=10,
            weights=(TaskWeight(kind="chat", weight_ppm=1_000_000),),
            density=(Density(devices_most=5, boost_ppm=1_250_000), Density(boost_ppm=1_000_000)),
        ),
    ),
    "reward.machine_set.v1": RewardMachineSet(
        at_ms=_AT_MS, previous=_PREVIOUS, node=_NODE, machine="M1E", cell="8828308281fffff", by="operator"
    ),
    "reward.machine_set.v1.minimal": RewardMachineSet(at_ms=_AT_MS, node=_NODE, machine="M1"),
    "reward.inputs.v1": RewardInputs(
        at_ms=_AT_MS,
        previous=_PREVIOUS,
        epoch=2970,
        take="0a",
        part=0,
        parts=1,
        devices=(
            DeviceInputs(
                node=_NODE,
                owner="acme",
                machine="M1E",
                cell="8828308281fffff",
                stake=5000,
                here_ms=604_000_000,
                work=(WorkDone(kind="chat", success_ppm=12_500_000),),
            ),
            DeviceInputs(node=Token("node-b"), owner=None, machine="M1", cell=None, stake=0, here_ms=0),
        ),
    ),
    "reward.granted.v1": RewardGranted(
        at_ms=_AT_MS,
        previous=_PREVIOUS,
        epoch=2970,
        version="ig3-1",
        currency="IG3",
        rewards=(
            Reward(
                node=_NODE,
                owner="acme",
                base_nano=600,
                bonus_nano=300,
                uptime_ppm=998_000,
                stake_ppm=1_000_000,
                score_ppm=2_000_000,
                boost_ppm=1_250_000,
            ),
        ),
    ),
    "reward.epoch_closed.v1": RewardEpochClosed(
        at_ms=_AT_MS, previous=_PREVIOUS, epoch=2970, version="ig3-1", devices=1, base_nano=600, bonus_nano=300
    ),
    **{
        f"payout.destination_set.v1.{driver}": PayoutDestinationSet(
            at_ms=_AT_MS, previous=_PREVIOUS, node=_NODE, driver=driver, address=_ADDRESS, by="operator"
        )
        for driver in get_args(DriverName)
    },
    **{
        f"payout.policy_set.v1.{driver}": PayoutPolicySet(
            at_ms=_AT_MS,
            previous=_PREVIOUS,
            node=_NODE,
            currency="IG3",
            is_on=False,
            least_nano=10**10,
            step_nano=1000,
            every_ms=24 * HOUR_MS,
            driver=driver,
            by="operator",
        )
        for driver in get_args(DriverName)
    },
    "payout.policy_set.v1.minimal": PayoutPolicySet(at_ms=_AT_MS, currency="IG3"),
    **{
        f"payout.requested.v1.{driver}": PayoutRequested(
            at_ms=_AT_MS,
            previous=_PREVIOUS,
            payout="p1",
            node=_NODE,
            driver=driver,
            address=_ADDRESS,
            amount_nano=900,
            currency="IG3",
        )
        for driver in get_args(DriverName)
    },
    "payout.sent.v1": PayoutSent(
        at_ms=_AT_MS, previous=_PREVIOUS, payout="p1", reference="0xab", body=b"\x02\xf8", place=7
    ),
    "payout.sent.v1.minimal": PayoutSent(at_ms=_AT_MS, payout="p1", reference="p1"),
    "payout.replaced.v1": PayoutReplaced(
        at_ms=_AT_MS, previous=_PREVIOUS, payout="p1", reference="0xac", body=b"\x02\xf9", place=7
    ),
    "payout.replaced.v1.minimal": PayoutReplaced(at_ms=_AT_MS, payout="p1", reference="p1"),
    "payout.confirmed.v1": PayoutConfirmed(
        at_ms=_AT_MS, previous=_PREVIOUS, payout="p1", detail="in block 7", node=_NODE, amount_nano=900, currency="IG3"
    ),
    "payout.failed.v1": PayoutFailed(
        at_ms=_AT_MS, previous=_PREVIOUS, payout="p1", detail="reverted", node=_NODE, amount_nano=900, currency="IG3"
    ),
    "reward.rules_set.v1.minimal": RewardRulesSet(
        at_ms=_AT_MS,
        from_epoch=0,
        rules=RewardRules(
            version="0",
            currency="IG3",
            base_nano=0,
            machines=(Machine(name="M1", multiplier=1),),
            pool_nano=0,
            stake_exponent_numerator=1,
            stake_exponent_denominator=1,
            tasks_for_double=1,
            weights=(),
            density=(Density(boost_ppm=0),),
        ),
    ),
    "reward.inputs.v1.minimal": RewardInputs(at_ms=_AT_MS, epoch=0, take="", part=0, parts=1, devices=()),
    "reward.granted.v1.minimal": RewardGranted(at_ms=_AT_MS, epoch=0, version="0", currency="IG3", rewards=()),
    "reward.epoch_closed.v1.minimal": RewardEpochClosed(
        at_ms=_AT_MS, epoch=0, version="0", devices=0, base_nano=0, bonus_nano=0
    ),
    "payout.destination_set.v1.minimal": PayoutDestinationSet(at_ms=_AT_MS, node=_NODE, driver="file", address="x"),
    "payout.requested.v1.minimal": PayoutRequested(
        at_ms=_AT_MS, payout="p", node=_NODE, driver="file", address="x", amount_nano=900, currency="IG3"
    ),
    "payout.confirmed.v1.minimal": PayoutConfirmed(
        at_ms=_AT_MS, payout="p", node=_NODE, amount_nano=900, currency="IG3"
    ),
    "payout.failed.v1.minimal": PayoutFailed(at_ms=_AT_MS, payout="p", node=_NODE, amount_nano=900, currency="IG3"),
}
