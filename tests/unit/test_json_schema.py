"""Schemas of users: what is refused before an engine compiles it, and that finding out takes no time."""

import contextlib
import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.intake.json_schema import SchemaRefused, check_schema


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"x": schema}}
    return schema


GOOD = [
    {},
    {
        "type": "object",
        "properties": {"city": {"type": "string", "minLength": 1, "maxLength": 2000}},
        "required": ["city"],
    },
    {"type": ["string", "null"], "enum": ["a", None]},
    {"$defs": {"node": {"properties": {"next": {"$ref": "#/$defs/node"}}}}, "$ref": "#/$defs/node"},
    {"properties": {"$ref": {"type": "string"}, "enum": {"const": 5}, "pattern": True}},
    {"anyOf": [{"type": "integer", "minimum": 0}, {"not": {"type": "array"}}], "x-odd": [[[1]]]},
    {"type": "string", "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"},
    {"type": "array", "items": [{"type": "string"}], "prefixItems": [{}], "minItems": 2.0},
    {"definitions": {"a/b": {"type": "null"}}, "properties": {"a": {"$ref": "#/definitions/a~1b"}}},
    nested(30),
]

BAD: list[tuple[str, object, str]] = [
    ("a list", [], "must be a JSON object"),
    ("true", True, "must be a JSON object"),
    ("too deep", nested(40), "more than 32"),
    ("too many properties", {"properties": {f"p{n}": {} for n in range(1001)}}, "1000 properties"),
    ("too many schemas", {"anyOf": [{"anyOf": [{}] * 100} for _ in range(60)]}, "5000 schemas"),
    ("too large an enum", {"enum": list(range(1001))}, "1000 values"),
    ("enums that add up", {"anyOf": [{"enum": list(range(400))}] * 3}, "1000 values"),
    ("an empty enum", {"enum": []}, "'enum'"),
    ("an enum that is none", {"enum": "a"}, "'enum'"),
    ("a remote reference", {"$ref": "https://example.org/schema.json"}, "leads out of it"),
    ("a remote reference deep inside", {"items": {"allOf": [{"$ref": "file:///etc/passwd"}]}}, "leads out of it"),
    ("a dynamic reference that is remote", {"$dynamicRef": "other.json#x"}, "leads out of it"),
    ("a reference to nothing", {"$ref": "#/$defs/none"}, "leads nowhere"),
    ("a reference to itself", {"$ref": "#"}, "leads back to itself"),
    (
        "references in a circle",
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        "back",
    ),
    ("a reference that is none", {"$ref": 5}, "must be a string"),
    ("an unknown type", {"type": "text"}, "there is no type 'text'"),
    ("a type that is none", {"type": {"a": 1}}, "there is no type"),
    ("too many repeats", {"minItems": 10**9}, "'minItems' is above 2000"),
    ("a length below nothing", {"maxLength": -1}, "whole number from 0"),
    ("half a length", {"maxLength": 1.5}, "whole number from 0"),
    ("a length of a word", {"maxLength": "9"}, "whole number from 0"),
    ("a length of true", {"maxLength": True}, "whole number from 0"),
    ("a pattern that explodes", {"pattern": "((a{999}){999}){999}"}, "repeats too much"),
    ("a pattern of one large repeat", {"pattern": "a{2,99999999999}"}, "repeats too much"),
    ("a long pattern", {"pattern": "a" * 1025}, "longer than 1024"),
    ("a pattern that is none", {"pattern": 5}, "must be a string"),
    ("properties that are none", {"properties": []}, "'properties' must be an object"),
    ("a list that is none", {"anyOf": {}}, "'anyOf' must be a list"),
    ("a schema that is none", {"properties": {"a": "string"}}, "neither an object nor true or false"),
    ("too large", {"description": "x" * 131_072}, "larger than 131072 bytes"),
]


@pytest.mark.parametrize("schema", GOOD, ids=range(len(GOOD)))
def test_what_engines_may_compile_is_let_through(schema: object) -> None:
    check_schema(json.dumps(schema))


@pytest.mark.parametrize(("schema", "why"), [(schema, why) for _, schema, why in BAD], ids=[name for name, *_ in BAD])
def test_what_is_refused_says_why(schema: object, why: str) -> None:
    with pytest.raises(SchemaRefused, match=why.replace("$", r"\$")):
        check_schema(json.dumps(schema))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"a":' * 50_000, "\ud800"])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(SchemaRefused):
        check_schema(text)


words = st.sampled_from(
    ["properties", "anyOf", "items", "$ref", "$defs", "enum", "type", "pattern", "minItems", "a", "not"]
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["string", "#", "#/$defs/a", "#/anyOf/0", "a{5}", ""]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=5),
    max_leaves=20,
)


@given(values)
def test_any_json_is_let_through_or_refused(schema: object) -> None:
    with contextlib.suppress(SchemaRefused):
        check_schema(json.dumps(schema))


def test_a_chain_of_references_that_each_schema_would_follow_anew_is_cut_short() -> None:
    names = [f"d{n}" for n in range(900)]
    chain = {name: {"$ref": f"#/$defs/{after}"} for name, after in itertools.pairwise(names)}
    schema = json.dumps({"$defs": {**chain, names[-1]: {}}, "anyOf": [{"$ref": "#/$defs/d0"}] * 900})
    with pytest.raises(SchemaRefused, match="leads over too many"):
        check_schema(schema)
