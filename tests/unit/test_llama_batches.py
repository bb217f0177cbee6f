"""How the room of a step is parted among the prompts that are read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nodes.engines.llama.batches import shares


def test_one_prompt_gets_all_the_room() -> None:
    assert shares(60, [500]) == [60]


def test_a_long_prompt_leaves_the_others_their_even_share() -> None:
    assert shares(60, [500, 10, 500]) == [25, 10, 25]


def test_what_does_not_divide_goes_to_the_first() -> None:
    assert shares(2, [9, 9, 9]) == [1, 1, 0]


@given(room=st.integers(0, 300), wishes=st.lists(st.integers(0, 200), max_size=12))
def test_room_is_neither_wasted_nor_exceeded(room: int, wishes: list[int]) -> None:
    given = shares(room, wishes)
    assert sum(given) == min(room, sum(wishes))
    assert all(0 <= got <= wish for got, wish in zip(given, wishes, strict=True))
