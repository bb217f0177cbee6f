"""JSON schemas of users, bounded before anything compiles them: a small schema can have a grammar without end.

Only what bounds it is looked at, and what no engine could make sense of; keywords that are not known here are left to
the engine. The bounds are near OpenAI's (its page on structured outputs), where it has any.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Iterator

    Schema = dict[str, Any]

MOST_BYTES: Final = 131_072
MOST_DEPTH: Final = 32
"""Schemas inside each other."""
MOST_SCHEMAS: Final = 5000
MOST_PROPERTIES: Final = 1000
MOST_ENUM_VALUES: Final = 1000
MOST_REPEATS: Final = 2000
"""What llama.cpp's grammars take of one repetition."""
MOST_PATTERN_CHARS: Final = 1024
_MOST_STEPS: Final = 16
"""From one reference to the next."""
_MOST_PATTERN_REPEATS: Final = 100_000
"""Of all repetitions of a pattern, one inside the other."""

_TYPES: Final = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})
_NAMED: Final = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTED: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE: Final = (
    *("items", "additionalItems", "additionalProperties", "unevaluatedProperties", "unevaluatedItems"),
    *("contains", "propertyNames", "not", "if", "then", "else"),
)
_COUNTS: Final = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")
_REPEAT: Final = re.compile(r"\{(\d+)(?:,(\d*))?\}")


class SchemaRefused(GatewayError):
    """A schema that no engine is given; the message says why, and fits behind a colon."""


def check_schema(text: str) -> None:
    """Return if a schema may go to an engine; in time that grows with its length only.

    Raises:
        SchemaRefused: saying what is wrong with it.
    """
    if len(text.encode("utf-8", "replace")) > MOST_BYTES:
        raise SchemaRefused(f"it is larger than {MOST_BYTES} bytes")
    try:
        schema = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise SchemaRefused("it is no JSON, or nested too deeply") from error
    if not isinstance(schema, dict):
        raise SchemaRefused("it must be a JSON object")
    _Walk(cast("Schema", schema)).check()


class _Walk:
    """One look at a schema and all that is in it."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._schemas = 0
        self._properties = 0
        self._enum_values = 0

    def check(self) -> None:
        waiting: list[tuple[object, int]] = [(self._root, 1)]
        while waiting:
            schema, depth = waiting.pop()
            if isinstance(schema, bool):
                continue
            if not isinstance(schema, dict):
                raise SchemaRefused("a schema inside it is neither an object nor true or false")
            if depth > MOST_DEPTH:
                raise SchemaRefused(f"it nests more than {MOST_DEPTH} schemas inside each other")
            self._look_at(cast("Schema", schema))
            waiting.extend((inner, depth + 1) for inner in _inner(cast("Schema", schema)))

    def _look_at(self, schema: Schema) -> None:
        self._schemas += 1
        if self._schemas > MOST_SCHEMAS:
            raise SchemaRefused(f"it has more than {MOST_SCHEMAS} schemas in it")
        self._count(schema)
        _check_types(schema)
        _check_numbers(schema)
        _check_pattern(schema)
        for keyword in _REFERENCES:
            if keyword in schema:
                self._check_reference(keyword, schema[keyword])

    def _count(self, schema: Schema) -> None:
        properties = schema.get("properties")
        self._properties += len(cast("Schema", properties)) if isinstance(properties, dict) else 0
        if self._properties > MOST_PROPERTIES:
            raise SchemaRefused(f"it has more than {MOST_PROPERTIES} properties")
        values = schema.get("enum", [None])
        if not isinstance(values, list) or not values:
            raise SchemaRefused("an 'enum' must be a list with something in it")
        self._enum_values += len(cast("list[object]", values)) if "enum" in schema else 0
        if self._enum_values > MOST_ENUM_VALUES:
            raise SchemaRefused(f"its enums have more than {MOST_ENUM_VALUES} values")

    def _check_reference(self, keyword: str, target: object) -> None:
        """See that a reference leads to a schema here, and not only to itself."""
        seen: set[str] = set()
        while isinstance(target, str):
            if not target.startswith("#"):
                raise SchemaRefused(f"a '{keyword}' leads out of it, and nothing is fetched: use '#/$defs/…'")
            if target in seen:
                raise SchemaRefused(f"a '{keyword}' leads back to itself")
            if len(seen) == _MOST_STEPS:
                raise SchemaRefused(f"a '{keyword}' leads over too many others")
            seen.add(target)
            found = self._at(target)
            if found is None:
                raise SchemaRefused(f"a '{keyword}' leads nowhere: {target[:64]!r}")
            target = found.get("$ref")
            if target is None:
                return
        raise SchemaRefused(f"a '{keyword}' must be a string")

    def _at(self, pointer: str) -> Schema | None:
        """Follow a JSON pointer (RFC 6901); a plain name is no pointer, and nothing has one here."""
        if pointer != "#" and not pointer.startswith("#/"):
            return None
        place: object = self._root
        for step in pointer.split("/")[1:]:
            place = _step(place, step.replace("~1", "/").replace("~0", "~"))
        return cast("Schema", place) if isinstance(place, dict) else None


def _step(place: object, name: str) -> object:
    if isinstance(place, dict):
        return cast("Schema", place).get(name)
    if isinstance(place, list) and name.isascii() and name.isdigit() and len(name) < len("10000"):
        items = cast("list[object]", place)
        return items[int(name)] if int(name) < len(items) else None
    return None


def _inner(schema: Schema) -> Iterator[object]:
    for keyword in _NAMED:
        named = schema.get(keyword, {})
        if not isinstance(named, dict):
            raise SchemaRefused(f"'{keyword}' must be an object")
        yield from cast("Schema", named).values()
    for keyword in _LISTED:
        listed = schema.get(keyword, [])
        if not isinstance(listed, list):
            raise SchemaRefused(f"'{keyword}' must be a list")
        yield from cast("list[object]", listed)
    for keyword in _SINGLE:
        if keyword in schema:
            single = schema[keyword]
            # In drafts before 2020-12 'items' may be a list.
            yield from cast("list[object]", single) if isinstance(single, list) else (single,)


def _check_types(schema: Schema) -> None:
    given = schema.get("type", "object")
    names = cast("list[object]", given) if isinstance(given, list) else [given]
    for name in names:
        if not isinstance(name, str) or name not in _TYPES:
            raise SchemaRefused(f"there is no type {str(name)[:64]!r}")


def _check_numbers(schema: Schema) -> None:
    for keyword in _COUNTS:
        count = schema.get(keyword, 0)
        is_whole = isinstance(count, int) or (isinstance(count, float) and count.is_integer())
        if isinstance(count, bool) or not is_whole or count < 0:
            raise SchemaRefused(f"'{keyword}' must be a whole number from 0")
        if count > MOST_REPEATS:
            raise SchemaRefused(f"'{keyword}' is above {MOST_REPEATS}")


def _check_pattern(schema: Schema) -> None:
    pattern = schema.get("pattern", "")
    if not isinstance(pattern, str):
        raise SchemaRefused("a 'pattern' must be a string")
    if len(pattern) > MOST_PATTERN_CHARS:
        raise SchemaRefused(f"a 'pattern' is longer than {MOST_PATTERN_CHARS} characters")
    product = 1
    for least, most in _REPEAT.findall(pattern):
        digits = most or least
        repeats = int(digits) if len(digits) < len("10000") else MOST_REPEATS + 1
        product *= max(repeats, 1)
        if repeats > MOST_REPEATS or product > _MOST_PATTERN_REPEATS:
            raise SchemaRefused("a 'pattern' repeats too much")
