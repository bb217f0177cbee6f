"""What tasks demand of replicas, however they came: what makes no sense, what is needed, and who can."""

from datetime import timedelta
from typing import Any

import pytest

from gateway.dispatcher.gate import check_submission
from gateway.dispatcher.plausible import prompt_bound
from gateway.dispatcher.wishing import tokens_in, wish_of
from gateway.intake.demands import demand_error, inability
from gateway.limits.price import PICTURE_TOKENS, price_of_task
from gateway.scheduling.aliases import Alias
from streams.clock import now_ms
from streams.devices.replica import Ability, Replica
from streams.devices.roster import Roster
from streams.events import ModelAnnounced, TaskSubmitted
from streams.subjects import TaskKey
from streams.tasks.chat import ImagePart, Message, Sampling, TextPart, TokenBias, ToolCall
from streams.tasks.task import TaskState
from streams.tasks.task_id import new_task_id
from streams.tasks.tools import Function, OutputFormat, Tools
from streams.tokens import Token

USER = Message(role="user", content="hello")
TOOLS = Tools(functions=(Function(name="f"), Function(name="g")))
PICTURE = Message(
    role="user", content="look", parts=(TextPart(text="look"), ImagePart(media_type="image/png", data=b"x"))
)
CALLING = Message(role="assistant", content="", tool_calls=(ToolCall(id="c", name="f", arguments="{}"),))
RESULT = Message(role="tool", content="5", tool_call_id="c")

DEMANDS: list[tuple[dict[str, Any], Ability, str]] = [
    ({"tools": TOOLS}, "tools", "tools"),
    ({"messages": (USER, CALLING, RESULT)}, "tools", "tools"),
    ({"format": OutputFormat(kind="json_object")}, "schema", "response_format"),
    ({"messages": (PICTURE,)}, "vision", "messages"),
    ({"sampling": Sampling(top_logprobs=0)}, "logprobs", "logprobs"),
    ({"messages": (), "prompt": "Once"}, "raw_prompt", "prompt"),
    ({"sampling": Sampling(logit_bias=(TokenBias(token=1, bias=1),))}, "logit_bias", "logit_bias"),
]


def task(**fields: Any) -> TaskSubmitted:
    return TaskSubmitted(**{"model": "m", "messages": (USER,), **fields})


def roster(*abilities: tuple[Ability, ...], model: str = "m") -> Roster:
    known = Roster()
    for number, can in enumerate(abilities):
        replica = Replica(model=model, engine="e", context_tokens=100, slots=1, abilities=can)
        known.apply_model(Token(f"n{number}"), ModelAnnounced(at_ms=0, node=Token(f"n{number}"), replica=replica))
    return known


@pytest.mark.parametrize(("fields", "needed", "param"), DEMANDS)
def test_what_a_task_demands_is_wished_for_and_refused_by_name_where_nobody_has_it(
    fields: dict[str, Any], needed: Ability, param: str
) -> None:
    asked = task(**fields)
    key = TaskKey(Token("a"), new_task_id())
    assert wish_of(key, asked, "standard", TaskState(), at_ms=0).needs == {needed}
    assert inability(asked, roster((), (needed,)), {}) is None
    refused = inability(asked, roster((), ()), {})
    assert refused is not None
    assert (refused.status, refused.param) == (400, param)
    assert refused.code in ("unsupported_parameter", "unsupported_value")
    assert "GET /v1/models" in refused.message


def test_where_no_replica_is_announced_nobody_knows_what_will_come() -> None:
    assert inability(task(tools=TOOLS), roster(), {}) is None
    assert inability(task(tools=TOOLS), roster((), model="other"), {}) is None


def test_what_no_single_replica_can_do_together_is_refused_too() -> None:
    asked = task(tools=TOOLS, format=OutputFormat(kind="json_object"))
    refused = inability(asked, roster(("tools",), ("schema",)), {})
    assert refused is not None
    assert "all of schema, tools at once" in refused.message


def test_one_model_of_an_alias_is_enough() -> None:
    known = roster((), ("tools",), model="large")
    aliases = {"auto": Alias("auto", ("small", "large"))}
    assert inability(task(model="auto", tools=TOOLS), known, aliases) is None
    assert inability(task(model="auto", format=OutputFormat(kind="json_object")), known, aliases) is not None


def test_plain_text_needs_nothing() -> None:
    for asked in (task(), task(tools=Tools(functions=TOOLS.functions, choice="none"))):
        assert inability(asked, roster(()), {}) is None


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"tools": Tools(functions=TOOLS.functions, choice="named", name="h")}, "tool_choice"),
    ({"tools": Tools(functions=(Function(name="f"), Function(name="f")))}, "tools[1].function.name"),
    ({"tools": Tools(functions=(Function(name="f", parameters_json="[]"),))}, "tools[0].function.parameters"),
    ({"format": OutputFormat(kind="json_schema")}, "response_format.json_schema.schema"),
    ({"format": OutputFormat(kind="json_schema", schema_json="{")}, "response_format.json_schema.schema"),
    ({"messages": (USER, RESULT)}, "messages[1].tool_call_id"),
    ({"messages": (USER, CALLING, USER)}, "messages[1].tool_calls[0]"),
    ({"messages": (Message(role="user", content="", tool_calls=CALLING.tool_calls), RESULT)}, "messages[0].tool_calls"),
]


@pytest.mark.parametrize(("fields", "param"), WRONG)
def test_what_makes_no_sense_is_refused_by_the_dispatcher_too(fields: dict[str, Any], param: str) -> None:
    asked = task(**fields)
    key = TaskKey(Token("a"), new_task_id())
    error = check_submission(key, asked, now_ms=now_ms(), retention=timedelta(days=1), is_known=lambda _: True)
    assert error is not None
    assert (error.status, error.param) == (400, param)


def test_calls_and_their_results_in_order_make_sense() -> None:
    twice = (USER, CALLING, RESULT, CALLING, RESULT, USER)
    assert demand_error(task(messages=twice, tools=TOOLS)) is None


def test_functions_and_pictures_count_for_the_prompt() -> None:
    long = Tools(functions=(Function(name="f", description="x" * 4000),))
    assert tokens_in((USER,), long) > tokens_in((USER,)) + 900
    assert tokens_in((PICTURE,)) >= PICTURE_TOKENS
    plain, demanding = (price_of_task(one, answer_tokens=10).prompt for one in (task(), task(tools=long)))
    assert demanding > plain + 900
    assert price_of_task(task(messages=(PICTURE,)), answer_tokens=10).prompt >= PICTURE_TOKENS


def test_a_raw_prompt_is_counted_as_if_somebody_had_said_it() -> None:
    text = "Explain why the sky is blue, and prove it. " * 20
    said, raw = task(messages=(Message(role="user", content=text),)), task(messages=(), prompt=text)
    key = TaskKey(Token("a"), new_task_id())
    wishes = [wish_of(key, asked, "standard", TaskState(), at_ms=0) for asked in (said, raw)]
    assert wishes[0].prompt_tokens == wishes[1].prompt_tokens > 100
    assert wishes[0].level == wishes[1].level == "hard"
    assert price_of_task(said, answer_tokens=5) == price_of_task(raw, answer_tokens=5)
    assert prompt_bound(said) == prompt_bound(raw)
