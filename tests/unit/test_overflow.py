"""What waits beyond a dispatcher's limit: how long, how many, and which limits belong together."""

from datetime import timedelta

import msgspec
import pytest

from gateway.dispatcher.overflow import MOST_OF_A_CLASS, Overflow, Waiting
from gateway.dispatcher.settings import DispatcherSettings
from gateway.settings import MOST_OPEN, GatewaySettings
from streams.tokens import token
from streams.topology import MAX_ACK_PENDING

ALICE, BOB = token("alice"), token("bob")


def waiting(account: str = ALICE) -> Waiting:
    return Waiting(token(account), "batch", "m")


def stands_still() -> float:
    """So that none comes again while a test counts, however long that takes."""
    return 0.0


def test_an_account_has_room_up_to_its_bound_in_each_class() -> None:
    overflow = Overflow(3, clock=stands_still)
    for _ in range(3):
        assert overflow.has_room(ALICE, "batch")
        overflow.add(waiting())
    assert not overflow.has_room(ALICE, "batch")
    assert overflow.has_room(ALICE, "interactive")
    assert overflow.has_room(BOB, "batch")
    assert overflow.waiting() == [waiting()] * 3


def test_a_class_has_an_end_over_all_accounts() -> None:
    overflow = Overflow(MOST_OF_A_CLASS, clock=stands_still)
    for index in range(MOST_OF_A_CLASS):
        overflow.add(waiting(f"account-{index % 100}"))
    assert not overflow.has_room(BOB, "batch")
    assert overflow.has_room(BOB, "standard")


def test_the_more_wait_the_longer_up_to_a_limit_and_never_past_a_deadline() -> None:
    overflow = Overflow(MOST_OF_A_CLASS, clock=stands_still)
    pauses = [overflow.add(waiting()) for _ in range(5000)]
    assert pauses == sorted(pauses)
    assert pauses[0] == timedelta(seconds=1)
    assert pauses[-1] == timedelta(seconds=20)
    assert overflow.add(waiting(), longest=timedelta(seconds=3)) == timedelta(seconds=3)


def test_what_has_come_again_is_counted_no_more() -> None:
    overflow = Overflow(1)
    overflow.add(waiting(), longest=timedelta(0))
    assert overflow.waiting() == []
    assert overflow.has_room(ALICE, "batch")


def test_what_a_gateway_may_take_a_dispatcher_can_keep() -> None:
    dispatcher, gateway = DispatcherSettings(), GatewaySettings()
    assert gateway.open_limit <= MOST_OPEN <= dispatcher.account_overflow <= MOST_OF_A_CLASS
    assert 2 * (MOST_OF_A_CLASS + dispatcher.window) <= MAX_ACK_PENDING


@pytest.mark.parametrize(
    ("settings", "values"),
    [
        (GatewaySettings, {"open_limit": MOST_OPEN + 1}),
        (GatewaySettings, {"open_limit_of": [f"alice={MOST_OPEN + 1}"]}),
        (DispatcherSettings, {"account_overflow": MOST_OPEN - 1}),
        (DispatcherSettings, {"account_overflow": MOST_OF_A_CLASS + 1}),
    ],
)
def test_limits_that_do_not_belong_together_are_refused(settings: type, values: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError, match=str(MOST_OPEN) + "|" + str(MOST_OF_A_CLASS)):
        msgspec.convert(values, settings)
