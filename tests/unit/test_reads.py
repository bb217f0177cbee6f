"""How often an account may ask for what no model answers."""

import pytest

from gateway.limits import reads as counting
from gateway.limits.reads import Reads
from gateway.limits.ticket import LimitReached
from gateway.settings import GatewaySettings
from streams.access.fold import LOCAL
from streams.tokens import Token

ACME = Token("acme")


class Clock:
    now_ms = 1_000_000

    def __call__(self) -> int:
        return self.now_ms


def how_many(reads: Reads, account: Token, most: int = 20) -> int:
    for number in range(most):
        try:
            reads.count(account)
        except LimitReached:
            return number
    return most


def test_an_idle_account_has_a_minutes_worth_and_then_as_much_as_time_gives() -> None:
    clock = Clock()
    reads = Reads(6, {}, clock=clock)
    assert how_many(reads, ACME) == 6
    with pytest.raises(LimitReached) as refused:
        reads.count(ACME)
    assert refused.value.retry_after_s == 10
    clock.now_ms += 10_000
    assert how_many(reads, ACME) == 1
    clock.now_ms += 3_600_000
    assert how_many(reads, ACME) == 6


def test_accounts_have_limits_of_their_own_and_the_operators_only_by_name() -> None:
    reads = Reads(6, {"beta": 2, "free": None}, clock=Clock())
    assert [how_many(reads, Token(name)) for name in ("acme", "beta", "free")] == [6, 2, 20]
    assert how_many(reads, LOCAL) == 20
    assert how_many(Reads(6, {"local": 3}, clock=Clock()), LOCAL) == 3
    assert how_many(Reads(None, {}, clock=Clock()), ACME) == 20


def test_who_asked_last_is_kept_in_mind_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "_MOST", 3)
    clock = Clock()
    reads = Reads(1, {}, clock=clock)
    for name in ("a", "b", "c"):
        assert how_many(reads, Token(name)) == 1
    clock.now_ms += 120_000
    assert how_many(reads, Token("d")) == 1
    assert how_many(reads, Token("d")) == 0
    for name in ("e", "f", "g"):
        assert how_many(reads, Token(name)) == 1
        assert len(reads._taken) <= 3


def test_settings_name_single_accounts() -> None:
    settings = GatewaySettings(reads_per_minute_of=("acme=5", "beta=none"))
    assert settings.read_limits == {"acme": 5, "beta": None}
    with pytest.raises(ValueError, match="whole number"):
        GatewaySettings(reads_per_minute_of=("acme=0",))
