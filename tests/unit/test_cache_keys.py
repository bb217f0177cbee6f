"""Which requests are the same to the cache: equal ones have one key, and whatever else a request says makes another."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.cache.key import canonical, slot_of
from streams.codec import decode, encode
from streams.events import TaskSubmitted
from streams.tasks.chat import Message, Sampling
from streams.tasks.placing import Rules
from streams.tokens import Token
from tests.unit.event_strategies import structs

FEW = settings(max_examples=25)
SECRET, OTHER_SECRET = b"s" * 32, b"t" * 32
ACME, OTHER = Token("acme"), Token("other")
LEFT_OUT = {"deadline_at_ms", "redrive_of", "key"}
TASK = TaskSubmitted(model="m", messages=(Message(role="user", content="hello"),), sampling=Sampling(temperature=0.0))


def says(value: object) -> bytes:
    """What a value is on the wire, with one zero."""
    return msgspec.msgpack.encode(value).replace(msgspec.msgpack.encode(-0.0), msgspec.msgpack.encode(0.0))


@FEW
@given(structs(TaskSubmitted))
def test_equal_requests_have_one_key(task: TaskSubmitted) -> None:
    again = decode(encode(task), TaskSubmitted)
    assert canonical(task) == canonical(again)
    assert slot_of(SECRET, ACME, canonical(task)) == slot_of(SECRET, ACME, canonical(again))


@FEW
@given(structs(TaskSubmitted), structs(TaskSubmitted), st.sampled_from(TaskSubmitted.__struct_fields__))
def test_any_field_that_is_another_makes_another_key(task: TaskSubmitted, other: TaskSubmitted, field: str) -> None:
    task, other = replace(task, rules=None), replace(other, rules=None)
    changed = replace(task, **{field: getattr(other, field)})
    is_same = field in LEFT_OUT or says(getattr(task, field)) == says(getattr(other, field))
    assert (canonical(task) == canonical(changed)) is is_same


@FEW
@given(structs(Sampling), structs(Sampling), st.sampled_from(Sampling.__struct_fields__))
def test_any_way_of_sampling_that_is_another_makes_another_key(one: Sampling, other: Sampling, field: str) -> None:
    changed = replace(one, **{field: getattr(other, field)})
    is_same = getattr(one, field) == getattr(other, field)
    assert (canonical(replace(TASK, sampling=one)) == canonical(replace(TASK, sampling=changed))) is is_same


def test_a_raw_prompt_and_the_same_words_of_a_user_have_two_keys() -> None:
    assert canonical(replace(TASK, messages=(), prompt="hello")) != canonical(TASK)


def with_rules(**rules: Any) -> bytes:
    return canonical(replace(TASK, rules=Rules(**rules)))


def test_who_may_write_an_answer_is_part_of_the_key_and_its_price_is_not() -> None:
    assert with_rules(highest_price_micro=1) == with_rules() == canonical(TASK)
    keys = {with_rules(region="eu"), with_rules(policy="private"), with_rules(lowest_reputation=0.5), canonical(TASK)}
    assert len(keys) == 4
    assert with_rules(region="eu", highest_price_micro=1) == with_rules(region="eu")


def test_an_alias_that_stands_for_other_models_makes_another_key() -> None:
    meanings = ((), ("a",), ("a", "b"), ("b", "a"))
    assert len({canonical(TASK, models) for models in meanings}) == len(meanings)


def test_each_account_and_each_mesh_has_keys_of_its_own() -> None:
    request = canonical(TASK)
    slots = [slot_of(SECRET, ACME, request), slot_of(SECRET, OTHER, request), slot_of(OTHER_SECRET, ACME, request)]
    assert len({slot.digest for slot in slots}) == 3
    assert [slot.owner for slot in slots] == [ACME, OTHER, ACME]
