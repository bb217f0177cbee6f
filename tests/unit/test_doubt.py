"""When a connection leaves a server that does not reach the streams: counted in ticks, so no clock is needed."""

from mesh.bus.doubt import Doubt

TICKS_PER_S = 4


def ticks_until_leaving(doubt: Doubt, *, is_overdue: bool = False, given_up: int = 0, is_refused: bool = False) -> int:
    for number in range(1, 1000):
        if is_refused:
            doubt.refused()
        if doubt.tick(is_overdue=is_overdue, given_up=given_up):
            return number
    return 0


def test_nothing_is_doubted_while_all_is_well() -> None:
    doubt = Doubt()
    assert not any(doubt.tick(is_overdue=False, given_up=0) for _ in range(1000))
    assert not doubt.is_there


def test_an_answer_that_stays_overdue_for_two_seconds_is_enough() -> None:
    assert ticks_until_leaving(Doubt(), is_overdue=True) == 2 * TICKS_PER_S


def test_two_time_outs_are_enough_however_many_gave_up_at_once() -> None:
    doubt = Doubt()
    assert not doubt.tick(is_overdue=False, given_up=100)
    assert not any(doubt.tick(is_overdue=False, given_up=0) for _ in range(100))
    assert doubt.tick(is_overdue=False, given_up=1)


def test_a_stream_without_a_leader_is_waited_for_longer() -> None:
    assert ticks_until_leaving(Doubt(), is_refused=True) == 5 * TICKS_PER_S


def test_one_refusal_and_silence_after_it_are_no_reason() -> None:
    doubt = Doubt()
    doubt.refused()
    assert not any(doubt.tick(is_overdue=False, given_up=0) for _ in range(1000))
    assert doubt.is_there


def test_what_was_stored_takes_all_of_it_back() -> None:
    doubt = Doubt()
    for _ in range(10):
        for _ in range(2 * TICKS_PER_S - 1):
            assert not doubt.tick(is_overdue=True, given_up=0)
        doubt.dispel()
        assert not doubt.is_there
