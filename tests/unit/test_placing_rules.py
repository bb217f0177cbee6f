"""What headers say of where a task may run, and what the dispatcher makes of it."""

import contextlib
from typing import get_args

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from gateway.dispatcher.settings import PolicyName
from gateway.dispatcher.wishing import tokens_in, wish_of
from gateway.http.errors import ApiError
from gateway.http.placing_rules import RULE_HEADERS, read_rules
from gateway.scheduling.policies import POLICIES
from streams.events import CheckOf, TaskSubmitted
from streams.subjects import CHECKS, TaskKey
from streams.tasks.chat import Message, Sampling
from streams.tasks.placing import Rules
from streams.tasks.task import TaskState
from streams.tokens import Token

KEY = TaskKey(Token("lab"), Token("0199"))


def rules(**headers: str) -> Rules | None:
    named = {f"x-ig3-{name.replace('_', '-')}": value for name, value in headers.items()}
    return read_rules(make_mocked_request("POST", "/", headers=named))


def asked(**said: object) -> TaskSubmitted:
    return TaskSubmitted(**{"model": "m", "messages": (Message(role="user", content="x" * 400),)} | said)  # pyright: ignore[reportArgumentType] - fields by name


def test_no_header_is_no_rule():
    assert rules() is None


def test_each_header_is_a_rule():
    assert rules(policy="private", region="eu", max_price="0.5", min_reputation="0.75") == Rules(
        policy="private", region="eu", highest_price_micro=500_000, lowest_reputation=0.75
    )


@pytest.mark.parametrize(
    ("price", "micro"), [("0", 0), ("2", 2_000_000), ("0.000001", 1), ("12.5", 12_500_000), ("999999", 999_999_000_000)]
)
def test_a_price_is_read_to_the_millionth(price: str, micro: int):
    found = rules(max_price=price)
    assert found is not None
    assert found.highest_price_micro == micro


@pytest.mark.parametrize(
    "headers",
    [
        {"policy": "privat"},
        {"policy": ""},
        {"region": ""},
        {"region": "the moon"},
        {"region": "e" * 65},
        {"max_price": "-1"},
        {"max_price": "0.0000001"},
        {"max_price": "1e3"},
        {"max_price": "nan"},
        {"min_reputation": "1.1"},
        {"min_reputation": "-0"},
        {"min_reputation": "nan"},
        {"min_reputation": ""},
    ],
)
def test_a_rule_that_cannot_be_read_is_refused_by_its_name(headers: dict[str, str]):
    with pytest.raises(ApiError) as refused:
        rules(**headers)
    assert (refused.value.status, refused.value.param) == (400, f"x-ig3-{next(iter(headers)).replace('_', '-')}")


@given(st.sampled_from(RULE_HEADERS), st.text("0123456789.e+-naif", max_size=12))
def test_whatever_a_header_says_it_is_a_rule_in_bounds_or_refused(name: str, value: str):
    with contextlib.suppress(ApiError):
        found = read_rules(make_mocked_request("POST", "/", headers={name: value}))
        assert found is not None
        assert 0 <= found.lowest_reputation <= 1
        assert found.highest_price_micro is None or 0 <= found.highest_price_micro <= 10**12


def test_the_settings_know_every_policy():
    assert set(get_args(PolicyName)) == set(POLICIES)


def test_a_wish_tells_sizes_and_rules():
    long = asked(sampling=Sampling(max_tokens=2000), rules=Rules(region="eu"), deadline_at_ms=5_000)
    wish = wish_of(KEY, long, "batch", TaskState(), at_ms=2_000)
    assert (wish.seed, wish.account, wish.service_class, wish.left_s) == ("0199", "lab", "batch", 3.0)
    assert (wish.prompt_tokens, wish.answer_tokens, wish.most_answer_tokens) == (104, 512, 2000)
    assert wish.rules.region == "eu"
    assert wish_of(KEY, asked(), "standard", TaskState(), at_ms=0).answer_tokens == 128
    assert tokens_in(()) == 0


def test_a_check_of_an_answer_belongs_to_the_account_whose_answer_it_is():
    check = CheckOf(account="lab", task="t", node="n", engine="e")
    wish = wish_of(TaskKey(CHECKS, Token("1")), asked(check_of=check), "batch", TaskState(), at_ms=0)
    assert (wish.account, wish.check) == ("lab", check)
