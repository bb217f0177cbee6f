"""What dispatchers say they hold, added up; who is silent for long is gone."""

from gateway.roster.backlog_feed import Backlogs
from streams.devices.region_backlog import RegionBacklog
from streams.messages import AccountBacklog, Backlog, ModelBacklog


def report(*, running: int = 0, waiting: int = 0, interval_s: float = 1, ended_per_s: float = 0) -> Backlog:
    return Backlog(
        at_ms=0,
        interval_s=interval_s,
        accounts=(AccountBacklog(account="a", running=running, waiting=waiting),),
        models=(ModelBacklog(model="m", service_class="batch", waiting=waiting, ended_per_s=ended_per_s),),
        regions=(RegionBacklog(model="m", region="eu", waiting=waiting),) if waiting else (),
    )


def test_what_all_hold_is_added_up() -> None:
    backlogs = Backlogs(now_s=0)
    backlogs.hear("d1", report(running=2, waiting=3, ended_per_s=0.5), now_s=1)
    backlogs.hear("d2", report(running=1, waiting=4, ended_per_s=1), now_s=1)
    assert backlogs.totals.open_of == {"a": 10}
    assert backlogs.totals.waiting_in == {("m", "batch"): 7}
    assert backlogs.totals.waiting_inside == {("m", "eu"): 7}
    assert backlogs.totals.ended_per_s == {("m", "batch"): 1.5}
    assert backlogs.dispatchers == {"d1", "d2"}


def test_a_later_report_replaces_the_earlier_one() -> None:
    backlogs = Backlogs(now_s=0)
    backlogs.hear("d1", report(running=5), now_s=1)
    backlogs.hear("d1", Backlog(at_ms=0, interval_s=1), now_s=2)
    assert backlogs.totals.open_of == {}


def test_who_is_silent_for_two_and_a_half_intervals_is_forgotten() -> None:
    backlogs = Backlogs(now_s=0)
    backlogs.hear("d1", report(running=5), now_s=10)
    backlogs.hear("d2", report(running=1, interval_s=100), now_s=12.4)
    assert backlogs.totals.open_of == {"a": 6}
    backlogs.hear("d2", report(running=1, interval_s=100), now_s=12.5)
    assert backlogs.totals.open_of == {"a": 1}


def test_silence_is_counted_from_the_last_word_and_at_first_from_the_start() -> None:
    backlogs = Backlogs(now_s=100)
    assert backlogs.silent_s(now_s=103) == 3
    backlogs.hear("d1", report(running=5), now_s=104)
    assert backlogs.silent_s(now_s=106.4) == 0
    assert backlogs.silent_s(now_s=107) == 3
    assert (backlogs.dispatchers, backlogs.totals.open_of) == (frozenset(), {})
