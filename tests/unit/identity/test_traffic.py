"""How much devices send: counted once each, whatever the order in which the broker tells it."""

from hypothesis import given
from hypothesis import strategies as st

from mesh.identity.traffic import SPAN_S, Allowance, Counted, Sent, TrafficMeter

ONE, OTHER = "server-1", "server-2"


def counted(size_bytes: int, *, cid: int = 7, name: str = "node:attic") -> Counted:
    return Counted(cid, name, Sent(1, size_bytes))


def met() -> TrafficMeter:
    """A meter that has looked at both servers while nobody was there."""
    meter = TrafficMeter()
    meter.look(ONE, (), 0)
    meter.look(OTHER, (), 0)
    return meter


def of_attic(meter: TrafficMeter, now_s: float) -> int:
    return meter.last_minute(now_s).get("node:attic", Sent()).size_bytes


def test_what_was_sent_before_anybody_looked_is_nobodys_fault() -> None:
    meter = TrafficMeter()
    meter.look(ONE, [counted(10**12)], 0)
    assert of_attic(meter, 0) == 0
    meter.look(ONE, [counted(10**12 + 5)], 5)
    assert of_attic(meter, 5) == 5


def test_connections_on_all_servers_are_one_devices_and_a_new_one_does_not_begin_anew() -> None:
    meter = met()
    meter.look(ONE, [counted(10)], 1)
    meter.ended(ONE, counted(100), 2)
    meter.look(ONE, [counted(20, cid=8)], 3)
    meter.look(OTHER, [counted(3)], 3)
    assert of_attic(meter, 3) == 100 + 20 + 3


def test_one_that_comes_and_goes_between_two_looks_is_counted() -> None:
    meter = met()
    meter.ended(ONE, counted(50), 1)
    assert of_attic(meter, 1) == 50


def test_after_a_minute_it_is_forgotten() -> None:
    meter = met()
    meter.look(ONE, [counted(10)], 1)
    meter.look(ONE, [counted(14)], 31)
    assert of_attic(meter, 31) == 14
    assert of_attic(meter, 1 + SPAN_S) == 4
    assert of_attic(meter, 31 + SPAN_S) == 0


def test_somebody_for_whom_it_was_decided_begins_anew() -> None:
    meter = met()
    meter.look(ONE, [counted(10)], 1)
    meter.forget("node:attic")
    meter.look(ONE, [counted(12)], 2)
    assert of_attic(meter, 2) == 2


@given(st.lists(st.integers(0, 100), min_size=1, max_size=8), st.data())
def test_nothing_is_counted_twice(grown: list[int], data: st.DataObject) -> None:
    """Lists are written by the broker in order, and may arrive after the word of the connection's end."""
    meter, total, lists = met(), 0, [counted(0)]
    for by in grown:
        total += by
        lists.append(counted(total))
    ends_at = data.draw(st.integers(0, len(lists)))
    for number, one in enumerate(lists):
        if number == ends_at:
            meter.ended(ONE, counted(total), number)
        if data.draw(st.booleans()):
            meter.look(ONE, [one] if number % 3 else [], number)
    if ends_at == len(lists):
        meter.ended(ONE, counted(total), ends_at)
    assert of_attic(meter, len(lists)) == total


def test_what_is_too_much_is_said_with_both_numbers() -> None:
    allowance = Allowance(messages=10, size_bytes=3 * 1024 * 1024)
    assert allowance.excess(Sent(10, 3 * 1024 * 1024)) == ""
    assert "sent 5 MiB within a minute, and device_data allows 3 MiB" in allowance.excess(Sent(99, 5 * 1024 * 1024))
    assert "sent 11 messages within a minute, and device_messages allows 10" in allowance.excess(Sent(11, 0))
    assert Allowance().excess(Sent(10**12, 10**15)) == ""
    assert not Allowance().has_any
