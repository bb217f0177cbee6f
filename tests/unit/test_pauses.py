"""Pauses between tries."""

import pytest

from nodes.pauses import FIRST_PAUSE_S, LONGEST_PAUSE_S, pause_s


@pytest.mark.parametrize("longest_s", [LONGEST_PAUSE_S, 60.0])
def test_pauses_double_up_to_their_limit_and_are_spread_by_a_fifth(longest_s: float) -> None:
    for tries in range(1, 40):
        whole_s = min(FIRST_PAUSE_S * 2 ** (tries - 1), longest_s)
        assert 0.8 * whole_s <= pause_s(tries, longest_s=longest_s) <= whole_s
