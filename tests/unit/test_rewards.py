"""What devices are given for a week: the rules as data, the epochs, and integers that add up."""

from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streams.billing.money import PPM
from streams.devices.events import DeviceLost, DeviceRegistered, DeviceReturned, DeviceSuspended
from streams.errors import InvalidEpoch, InvalidRewardRules
from streams.rewards.computing import DeviceInputs, Reward, WorkDone, rewards
from streams.rewards.epochs import EPOCH_MS, Epoch, epoch_at, parse_epoch
from streams.rewards.powers import power, root
from streams.rewards.presence import Presence
from streams.rewards.rules import IG3_RULES, Density, Machine, check
from streams.tokens import Token

EPOCH = parse_epoch("2026-11-26")
UNIT = 10**9


def device(name: str = "n1", **changes: Any) -> DeviceInputs:
    whole = DeviceInputs(node=Token(name), owner="acme", machine="M1", cell=None, stake=0, here_ms=EPOCH_MS)
    return replace(whole, **changes)


def alone(**changes: Any) -> Reward:
    return rewards(IG3_RULES, (device(**changes),))[0]


# --- epochs ------------------------------------------------------------------------------------------------------


def test_an_epoch_goes_from_thursday_two_oclock_to_the_next() -> None:
    begins = datetime(2026, 11, 26, 2, tzinfo=UTC)
    assert begins.strftime("%A") == "Thursday"
    assert EPOCH.begins_at_ms == begins.timestamp() * 1000
    assert EPOCH.day == "2026-11-26"
    assert epoch_at(EPOCH.begins_at_ms - 1).number == EPOCH.number - 1
    assert epoch_at(EPOCH.ends_at_ms - 1) == EPOCH
    assert epoch_at(EPOCH.ends_at_ms).number == EPOCH.number + 1


@pytest.mark.parametrize("text", ["2026-11-26", "2026-11-28", "2026-12-02", str(EPOCH.number)])
def test_a_number_and_every_day_in_it_name_an_epoch(text: str) -> None:
    assert parse_epoch(text) == EPOCH


@pytest.mark.parametrize("text", ["", "-1", "1969-12-31", "yesterday", "2026-13-01", "9" * 30, "1.5", "٣"])
def test_what_names_no_epoch_is_refused(text: str) -> None:
    with pytest.raises(InvalidEpoch, match="epoch"):
        parse_epoch(text)


# --- powers ------------------------------------------------------------------------------------------------------


@given(number=st.integers(0, 10**40), degree=st.integers(1, 20))
def test_a_root_is_the_largest_integer_that_fits(number: int, degree: int) -> None:
    found = root(number, degree)
    assert found**degree <= number < (found + 1) ** degree


@given(number=st.integers(0, 10**15))
def test_a_power_of_four_fifths_is_as_a_float_has_it_as_far_as_floats_go(number: int) -> None:
    assert power(number, 4, 5, digits=9) / 10**9 == pytest.approx(number**0.8, rel=1e-9)


@pytest.mark.parametrize("bad", [(-1, 4, 5), (1, -1, 5), (1, 4, 0), (1, 4, 21)])
def test_a_power_that_cannot_be_computed_is_refused(bad: tuple[int, int, int]) -> None:
    with pytest.raises(InvalidRewardRules, match="cannot be computed"):
        power(*bad, digits=9)


# --- being there -------------------------------------------------------------------------------------------------


def here_ms(*events: DeviceRegistered | DeviceReturned | DeviceLost | DeviceSuspended, epoch: Epoch = EPOCH) -> int:
    presence = Presence(epoch)
    for event in events:
        presence.apply(Token("n1"), event)
    return presence.here_ms(Token("n1"))


def came(at_ms: int) -> DeviceReturned:
    return DeviceReturned(at_ms=at_ms, node="n1")


def went(at_ms: int) -> DeviceLost:
    return DeviceLost(at_ms=at_ms, node="n1", reason="it has left the bus")


def test_a_device_that_never_leaves_is_there_for_the_whole_epoch() -> None:
    assert here_ms(DeviceRegistered(at_ms=5, node="n1", software="x")) == EPOCH_MS


def test_only_what_lies_in_the_epoch_counts() -> None:
    begins, ends = EPOCH.begins_at_ms, EPOCH.ends_at_ms
    assert here_ms(came(begins - 50), went(begins + 10), came(ends - 7), went(ends + 100)) == 17
    assert here_ms(came(begins - 50), went(begins - 10)) == 0
    assert here_ms(came(ends + 1)) == 0


def test_a_device_that_is_suspended_is_not_there_until_it_returns() -> None:
    begins = EPOCH.begins_at_ms
    stopped = DeviceSuspended(at_ms=begins + 10, node="n1", by="operator", reason="lies")
    assert here_ms(came(begins), stopped, went(begins + 20), came(begins + 30), went(begins + 31)) == 11


def test_a_clock_that_jumps_back_takes_and_gives_nothing() -> None:
    begins = EPOCH.begins_at_ms
    assert here_ms(came(begins), went(begins + 100), came(begins + 10), went(begins + 50)) == 100


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2 * EPOCH.ends_at_ms)), max_size=30))
def test_nobody_is_there_for_longer_than_the_epoch_lasts(moves: list[tuple[bool, int]]) -> None:
    assert 0 <= here_ms(*(came(at_ms) if comes else went(at_ms) for comes, at_ms in moves)) <= EPOCH_MS


# --- amounts -----------------------------------------------------------------------------------------------------


def test_the_base_is_2333_for_a_whole_week_and_eight_times_that_for_an_m1e() -> None:
    assert alone().base_nano == 2333 * UNIT
    assert alone(machine="M1E").base_nano == 8 * 2333 * UNIT
    assert alone(here_ms=EPOCH_MS // 2).base_nano == 2333 * UNIT // 2
    assert alone(machine="toaster").base_nano == 0


def test_a_device_that_holds_all_stake_and_did_nothing_is_given_the_pool_once() -> None:
    assert alone(stake=7).bonus_nano == IG3_RULES.pool_nano


def test_work_up_to_ten_whole_tasks_doubles_the_bonus_and_more_does_not() -> None:
    def bonus(tasks_ppm: int) -> int:
        return alone(stake=7, work=(WorkDone(kind="chat", success_ppm=tasks_ppm),)).bonus_nano

    assert bonus(5 * PPM) == IG3_RULES.pool_nano * 3 // 2
    assert bonus(10 * PPM) == bonus(10_000 * PPM) == 2 * IG3_RULES.pool_nano


def test_a_kind_that_weighs_a_tenth_counts_a_tenth_and_an_unknown_one_nothing() -> None:
    def score(kind: str) -> int:
        return alone(work=(WorkDone(kind=kind, success_ppm=2 * PPM),)).score_ppm

    assert (score("chat"), score("embedding"), score("unheard-of")) == (1_200_000, 1_020_000, PPM)


def test_stake_counts_by_its_power_of_four_fifths() -> None:
    large, small = rewards(IG3_RULES, (device("a", stake=32), device("b", stake=1)))
    assert large.bonus_nano / small.bonus_nano == pytest.approx(16.0)


def test_without_a_stake_there_is_no_share_even_where_all_stakes_count_alike() -> None:
    rules = replace(IG3_RULES, stake_exponent_numerator=0)
    paid, unpaid = rewards(rules, (device("a", stake=5), device("b")))
    assert (paid.bonus_nano, unpaid.bonus_nano) == (rules.pool_nano, 0)
    assert rewards(rules, (device("b"),))[0].bonus_nano == 0


def test_neighbours_in_a_cell_change_the_boost_and_who_says_no_cell_has_none() -> None:
    crowd = tuple(device(f"n{n}", cell="8828308281fffff") for n in range(6))
    assert {each.boost_ppm for each in rewards(IG3_RULES, crowd)} == {1_100_000}
    assert rewards(IG3_RULES, crowd[:1])[0].boost_ppm == 1_500_000
    assert {each.boost_ppm for each in rewards(IG3_RULES, (device("a"), device("b")))} == {PPM}


def test_who_has_no_owner_is_given_nothing_and_makes_nobody_richer() -> None:
    both = rewards(IG3_RULES, (device("a", stake=1), device("b", stake=1, owner=None)))
    assert [(each.node, each.bonus_nano) for each in both] == [("a", IG3_RULES.pool_nano // 2)]


inputs = st.builds(
    device,
    st.text("abcdef", min_size=1, max_size=6),
    machine=st.sampled_from(["M1", "M1E"]),
    cell=st.sampled_from([None, "x", "y"]),
    stake=st.integers(0, 2**53 - 1),
    here_ms=st.integers(0, EPOCH_MS),
    work=st.builds(lambda ppm: (WorkDone(kind="embedding", success_ppm=ppm),), st.integers(0, 10**12)),
)


@given(st.lists(inputs, max_size=8, unique_by=lambda one: one.node), st.randoms())
def test_amounts_are_those_of_the_formula_rounded_down_whatever_the_order(devices, random) -> None:
    found = {each.node: each for each in rewards(IG3_RULES, tuple(devices))}
    shuffled = list(devices)
    random.shuffle(shuffled)
    assert rewards(IG3_RULES, tuple(shuffled)) == tuple(found.values())
    weight = {each.node: power(each.stake, 4, 5, digits=9) for each in devices}
    for each in devices:
        given_ = found[each.node]
        assert given_.base_nano >= 0
        exact = Fraction(IG3_RULES.pool_nano * weight[each.node], max(1, sum(weight.values())))
        exact *= Fraction(given_.score_ppm * given_.boost_ppm, PPM**2)
        assert 0 <= exact - given_.bonus_nano < 1


# --- rules -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"machines": (Machine(name="M1", multiplier=1),) * 2}, "twice"),
        ({"density": (Density(devices_most=3, boost_ppm=PPM),)}, "last step"),
        ({"density": (Density(boost_ppm=PPM), Density(boost_ppm=PPM))}, "last step"),
        ({"pool_nano": 2**53 - 1, "density": (Density(boost_ppm=10**9),)}, "no event can say"),
        ({"density": tuple(Density(devices_most=most, boost_ppm=1) for most in (5, 3, None))}, "go up"),
    ],
)
def test_rules_that_contradict_themselves_are_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidRewardRules, match=says):
        check(replace(IG3_RULES, **changes))


def test_the_rules_to_begin_with_are_in_order() -> None:
    check(IG3_RULES)
