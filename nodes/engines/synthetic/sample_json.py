"""Some JSON that a schema allows, for the synthetic engine: the plain cases, and a refusal of all others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from nodes.errors import RequestRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEEPEST: Final = 32
_OPTIONAL_TO: Final = 2
"""Deeper than this only what must be there is written."""
_REFUSED: Final = frozenset(
    {
        "pattern", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "contains", "propertyNames",
        "patternProperties", "unevaluatedProperties", "unevaluatedItems", "$dynamicRef", "$recursiveRef",
    }
)  # fmt: skip
_FORMATS: Final = {
    "date-time": "2026-02-28T12:30:00Z",
    "date": "2026-02-28",
    "time": "12:30:00Z",
    "uuid": "123e4567-e89b-12d3-a456-426614174000",
    "email": "ada@example.org",
    "hostname": "example.org",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.org/",
    "duration": "P1D",
}

_Schema = dict[str, Any]
"""JSON of a user's making: nothing more is known of it."""


def sample(schema_json: str, words: Iterator[str]) -> object:
    """Make a value that fits; its texts are made of ``words``.

    Raises:
        RequestRefused: ``unsupported_schema``: it is none, or says more than this module understands.
    """
    try:
        schema = msgspec.json.decode(schema_json, type=_Schema)
    except (msgspec.DecodeError, RecursionError) as error:
        raise RequestRefused("unsupported_schema", f"the schema is no JSON object: {error}") from error
    try:
        return _Sampler(schema, words).value(schema, 0)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise _refused("one of its keywords has a value that no such keyword can have") from error


class _Sampler:
    def __init__(self, root: _Schema, words: Iterator[str]) -> None:
        self._root = root
        self._words = words

    def value(self, found: object, depth: int) -> object:
        if found is True:
            return next(self._words)
        if depth > _DEEPEST or not isinstance(found, dict):
            raise _refused("it allows nothing, or is nested too deeply")
        schema = cast("_Schema", found)
        if unknown := _REFUSED.intersection(schema):
            raise _refused(f"it uses {', '.join(sorted(unknown))}")
        if "$ref" in schema:
            return self.value(self._at(schema["$ref"]), depth + 1)
        if "const" in schema:
            return schema["const"]
        if choices := schema.get("enum"):
            return choices[0]
        for choice in ("anyOf", "oneOf"):
            if options := schema.get(choice):
                rest = {key: item for key, item in schema.items() if key not in {choice, "$defs", "definitions"}}
                return self.value({**rest, **options[0]} if isinstance(options[0], dict) else options[0], depth + 1)
        if parts := schema.get("allOf"):
            return self.value(self._merged([{k: v for k, v in schema.items() if k != "allOf"}, *parts]), depth + 1)
        return self._of_type(schema, depth)

    def _of_type(self, schema: _Schema, depth: int) -> object:
        kind = schema.get("type") or (
            "object" if "properties" in schema else "array" if "items" in schema else "string"
        )
        if isinstance(kind, list):
            kind = cast("list[object]", kind)[0]
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "string":
                return self._string(schema)
            case "integer" | "number":
                return _number(schema)
            case "boolean":
                return True
            case "null":
                return None
            case _:
                raise _refused(f"it has the type {kind!r}")

    def _object(self, schema: _Schema, depth: int) -> dict[str, object]:
        required: list[str] = schema.get("required", [])
        properties: _Schema = schema.get("properties", {})
        names = list(properties) if depth <= _OPTIONAL_TO else [name for name in properties if name in required]
        names += [name for name in required if name not in properties]
        more = max(0, schema.get("minProperties", 0) - len(names))
        names += [f"more{number}" for number in range(more)]
        other = schema.get("additionalProperties", True)
        return {name: self.value(properties.get(name, other), depth + 1) for name in names}

    def _array(self, schema: _Schema, depth: int) -> list[object]:
        first: list[object] = schema.get("prefixItems", [])
        least = max(schema.get("minItems", 0), len(first))
        if least > 1 and schema.get("uniqueItems"):
            raise _refused("it wants several items, each another one")
        most = schema.get("maxItems", least + 1)
        if most > _DEEPEST and least > _DEEPEST:
            raise _refused(f"it wants a list of {least}")
        wanted = least if least or schema.get("uniqueItems") or depth > _OPTIONAL_TO else min(1, most)
        items = [*first, *[schema.get("items", True)] * (wanted - len(first))][: max(0, most)]
        return [self.value(item, depth + 1) for item in items]

    def _string(self, schema: _Schema) -> str:
        if "format" in schema:
            known = _FORMATS.get(schema["format"])
            if known is None:
                raise _refused(f"it has the format {schema['format']!r}")
            return known
        text = next(self._words)
        least, most = schema.get("minLength", 0), schema.get("maxLength")
        if least > 1024:
            raise _refused(f"it wants a text of {least} characters")
        while len(text) < least:
            text = f"{text} {next(self._words)}"
        return text if most is None else text[: int(most)]

    def _at(self, reference: object) -> Any:
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            raise _refused(f"it refers to {reference!r}, which is not inside of it")
        found: Any = self._root
        for part in reference.split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, dict) or name not in found:
                raise _refused(f"it refers to {reference!r}, which is not there")
            found = cast("_Schema", found)[name]
        return found

    def _merged(self, parts: list[_Schema]) -> _Schema:
        merged: _Schema = {}
        for part in parts:
            full: _Schema = self._at(part["$ref"]) if "$ref" in part else part
            properties = {**merged.get("properties", {}), **full.get("properties", {})}
            required = [*merged.get("required", []), *full.get("required", [])]
            merged = {**merged, **full, "properties": properties, "required": required}
        return merged


def _number(schema: _Schema) -> float | int:
    step = schema.get("multipleOf", 1)
    low, high = schema.get("minimum"), schema.get("maximum")
    if "exclusiveMinimum" in schema:
        low = schema["exclusiveMinimum"] + step
    if "exclusiveMaximum" in schema:
        high = schema["exclusiveMaximum"] - step
    start = low if low is not None else high if high is not None and high < 1 else step
    if step == 1:
        return start if schema.get("type") == "number" else int(-(-start // 1))
    return -(-start // step) * step


def _refused(why: str) -> RequestRefused:
    return RequestRefused("unsupported_schema", f"the synthetic engine writes nothing under this schema: {why}")
