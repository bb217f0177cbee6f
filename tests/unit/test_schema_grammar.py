"""Schemas that become grammars, and those that are refused: quickly, by name, whatever they are made of.

That what is written under a grammar fits its schema is shown with the real model: ``tests/contract/test_abilities.py``.
"""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.engine import Generate
from nodes.engines.grammar.constraint import grammar_of
from nodes.engines.grammar.numbers import integers, numbers
from nodes.engines.grammar.rules import MOST_CHARS
from nodes.errors import RequestRefused
from streams.tasks.chat import Message
from streams.tasks.tools import Function, OutputFormat, Tools
from tests.unit.json_schemas import schemas

MESSAGES = (Message(role="user", content="hi"),)
QUICK_S = 5.0
"""Far more than any of these takes, and far less than what explodes would."""


def grammar(schema: object, *, strict: bool = True) -> str:
    text = schema if isinstance(schema, str) else json.dumps(schema)
    output_format = OutputFormat(kind="json_schema", schema_json=text, strict=strict)
    made = grammar_of(Generate(messages=MESSAGES, format=output_format))
    assert made is not None
    return made


def linked(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"next": schema}}
    return schema


TREE = {"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}}
LIST = {"$defs": {"node": {"anyOf": [{"type": "null"}, {"properties": {"next": {"$ref": "#/$defs/node"}}}]}}}
TWINS = {
    "$defs": {
        "a": {
            "anyOf": [
                {"properties": {"x": {"$ref": "#/$defs/a"}, "y": {"const": number}}, "required": ["x", "y"]}
                for number in range(2)
            ]
        }
    },
    "$ref": "#/$defs/a",
}
"""At each level two ways that begin alike: after thirty levels a thousand millions."""
WIDE: dict[str, Any] = {"type": "string"}
for _level in range(8):
    WIDE = {"anyOf": [{"type": "array", "items": WIDE}, {"type": "array", "items": WIDE, "minItems": 1}]}
LADDER = {
    "$defs": {
        **{f"d{n}": {"allOf": [{"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 9}]} for n in range(9)},
        "d9": {"type": "string"},
    },
    "$ref": "#/$defs/d0",
}


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ("{", "no JSON object"),
        ("[" * 100_000, "no JSON object"),
        ({"type": "object", "properties": {"a": False}, "required": ["a"]}, "does not allow"),
        (linked(33), "levels deep"),
        ({"$ref": "#"}, "refers to itself alone"),
        ({"$ref": "#/$defs/x"}, "not there"),
        ({"$ref": "https://example.org/schema"}, "not inside"),
        (TWINS, "recursive inside of alternatives that begin alike"),
        (WIDE, "alternatives begin alike"),
        ({"enum": list(range(501))}, "'enum' must have"),
        ({"enum": []}, "'enum' must have"),
        ({"enum": ["a"], "type": "integer"}, "no value"),
        ({"anyOf": []}, "'anyOf' must have"),
        ({"anyOf": [{"type": "string"}] * 501}, "'anyOf' must have"),
        ({"type": "string", "maxLength": 1_901}, "1900 repetitions of one thing"),
        ({"properties": {f"p{n}": {"type": "string", "maxLength": 1_500} for n in range(3)}}, "4000 repetitions"),
        ({"type": "array", "minItems": 10**9}, "repetitions"),
        ({"type": "array", "items": {"type": "array", "maxItems": 3_000}, "maxItems": 3_000}, "repetitions"),
        ({"properties": {f"p{n}": {"type": "null"} for n in range(501)}}, "more than 500 properties"),
        ({"enum": ["x" * 1000 + str(n) for n in range(300)]}, "characters"),
        ({"anyOf": [{"properties": {f"p{k}{n}": {"type": "null"} for n in range(31)}} for k in range(16)]}, "rules|31"),
        ({"type": "string", "pattern": "^(a+)+$"}, "'pattern'"),
        ({"type": "string", "format": "regex"}, "format: regex"),
        ({"not": {"type": "string"}}, "'not'"),
        ({"if": True, "type": "string"}, "'if'"),
        ({"type": "array", "uniqueItems": True}, "'uniqueItems'"),
        ({"type": "number", "multipleOf": 0.01}, "'multipleOf'"),
        ({"type": "number", "exclusiveMinimum": 0.2, "maximum": 0.8}, "no integer lies between"),
        ({"type": "number", "minimum": 0, "exclusiveMinimum": True}, "must be a number"),
        ({"patternProperties": {"a": {}}, "type": "object"}, "'patternProperties'"),
        ({"type": "object", "minProperties": 2}, "'minProperties'"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "'oneOf'"),
        ({"allOf": [{"type": "string", "maxLength": 3}, {"maxLength": 2}]}, "'allOf'"),
        ({"$ref": "#/$defs/a", "maxLength": 2, "$defs": {"a": {"type": "string"}}}, "beside"),
        ({"type": "wish"}, "no type 'wish'"),
        ({"properties": 5}, "a value that no such keyword can have"),
        ({"type": "integer", "minimum": "low"}, "a value that no such keyword can have"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "less than"),
        ({"type": "array", "items": False, "minItems": 1}, "allows none"),
    ],
)  # fmt: skip
def test_what_explodes_or_cannot_be_enforced_is_refused_at_once_and_named(schema: object, why: str) -> None:
    begun = time.process_time()
    with pytest.raises(RequestRefused, match=why) as refused:
        grammar(schema)
    assert refused.value.code == "unsupported_schema"
    assert time.process_time() - begun < QUICK_S


@pytest.mark.parametrize("schema", [TREE, {**LIST, "$ref": "#/$defs/node"}, LADDER, linked(30)])
def test_recursion_and_depth_without_an_explosion_are_taken(schema: object) -> None:
    begun = time.process_time()
    assert len(grammar(schema)) < MOST_CHARS
    assert time.process_time() - begun < QUICK_S


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "^a+$"},
        {"type": "array", "uniqueItems": True},
        {"oneOf": [{"type": "integer"}, {"type": "number"}]},
        {"type": "string", "format": "regex"},
    ],
)
def test_where_it_need_not_be_strict_the_rest_is_enforced(schema: dict[str, Any]) -> None:
    assert grammar(schema, strict=False)


@pytest.mark.parametrize("strict", [True, False])
def test_an_explosion_is_refused_whether_strict_or_not(strict: bool) -> None:
    for schema in (TWINS, WIDE, linked(33)):
        with pytest.raises(RequestRefused):
            grammar(schema, strict=strict)


@given(schemas())
@settings(max_examples=100)
def test_every_rule_of_a_grammar_is_there(schema: dict[str, Any]) -> None:
    made = grammar(schema)
    bodies = dict(line.split(" ::= ", 1) for line in made.splitlines())
    named = re.compile(r"(?<![\w\"\\-])[a-z]+(?:-\d+)?(?![\w\"-])")
    for body in bodies.values():
        plain = re.sub(r'"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]', " ", body)
        assert set(named.findall(plain)) <= bodies.keys()


def test_the_calls_of_a_request_are_a_grammar_too() -> None:
    functions = (Function(name="f", parameters_json=json.dumps(TREE)), Function(name="g"))
    named = grammar_of(Generate(messages=MESSAGES, tools=Tools(functions=functions, choice="named", name="g")))
    assert named is not None
    assert '"g\\", \\"arguments\\": " "{}"' in named
    assert "left" not in named
    none = Generate(messages=MESSAGES, tools=Tools(functions=functions, choice="none"))
    assert grammar_of(none) is None


@pytest.mark.parametrize(
    ("tools", "code", "why"),
    [
        (Tools(functions=(Function(name="f"),), choice="named", name="g"), "invalid_input", "'g'"),
        (Tools(functions=(Function(name="f", parameters_json='{"type":"string"}'),)), "unsupported_schema", "'f' must"),
        (
            Tools(functions=(Function(name="f", parameters_json='{"not":{}}', strict=True),)),
            "unsupported_schema",
            "function 'f'.*'not'",
        ),
    ],
)
def test_functions_that_cannot_be_called_are_refused_and_named(tools: Tools, code: str, why: str) -> None:
    with pytest.raises(RequestRefused, match=why) as refused:
        grammar_of(Generate(messages=MESSAGES, tools=tools))
    assert refused.value.code == code


def matcher(rule: str | None) -> re.Pattern[str]:
    """A rule of literals, classes and brackets says the same as a regular expression."""
    assert rule is not None
    return re.compile(re.sub(r'"([^"]*)"', lambda found: re.escape(found[1]), rule).replace(" ", ""))


@given(st.integers(-(10**6), 10**6), st.integers(0, 10**6), st.integers(-(10**7), 10**7))
def test_a_range_of_integers_holds_those_in_it_and_no_others(low: int, more: int, other: int) -> None:
    pattern = matcher(integers(low, low + more))
    for number in (low - 1, low, low + more // 2, low + more, low + more + 1, other):
        assert bool(pattern.fullmatch(str(number))) is (low <= number <= low + more)


@given(st.floats(-1000, 1000), st.floats(1, 1000), st.decimals(-3000, 3000, places=3, allow_nan=False))
def test_no_number_beyond_its_bounds_can_be_written(low: float, more: float, number: Any) -> None:
    rule = numbers(low, low + more)
    if rule is not None and matcher(rule).fullmatch(str(number)):
        assert low <= float(number) <= low + more


@pytest.mark.parametrize(("low", "high"), [(0, None), (1, None), (None, 0), (None, None), (-1e308, 1e308)])
def test_open_ranges_are_short(low: float | None, high: float | None) -> None:
    assert len(numbers(low, high) or "") < 10_000
    assert matcher(integers(low, high)).fullmatch("0") or low == 1
