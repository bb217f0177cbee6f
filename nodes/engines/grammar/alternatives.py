"""What values of a schema begin with, and whether two schemas can hold the same value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from nodes.engines.grammar.schema_words import Schema

from nodes.engines.grammar.schema_words import TYPE_OF_WORD

_BEGINS: Final = {
    "object": frozenset("{"),
    "array": frozenset("["),
    "string": frozenset('"'),
    "integer": frozenset("#"),
    "number": frozenset("#"),
    "boolean": frozenset("tf"),
    "null": frozenset("n"),
}
_ANY: Final = frozenset('{["#tfn')
_DEEPEST: Final = 32


class Beginnings:
    """Remembers what it has found, so that many ways to one schema cost one look at it."""

    def __init__(self, target: Callable[[str], object]) -> None:
        """Follow references by ``target``."""
        self._target = target
        self._found: dict[int, frozenset[str]] = {}
        self._kept: list[object] = []
        """What was looked at lives as long as this: its id is nobody else's."""

    def of(self, schema: object, depth: int = 0) -> frozenset[str]:
        """Return the characters that a value can begin with; ``#`` stands for those of a number."""
        if not isinstance(schema, dict) or depth > _DEEPEST:
            return _ANY
        found = cast("Schema", schema)
        known = self._found.get(id(found))
        if known is None:
            self._kept.append(found)
            known = self._found[id(found)] = self._of(found, depth)
        return known

    def _of(self, schema: Schema, depth: int) -> frozenset[str]:
        if "$ref" in schema:
            return self.of(self._target(schema["$ref"]), depth + 1)
        if "const" in schema:
            return _begin_of(schema["const"])
        if "enum" in schema:
            return frozenset[str]().union(*map(_begin_of, schema["enum"]))
        for word in ("anyOf", "oneOf"):
            if word in schema:
                return frozenset[str]().union(*(self.of(option, depth + 1) for option in schema[word]))
        types = types_of(schema)
        return frozenset[str]().union(*(_BEGINS.get(name, _ANY) for name in types)) if types else _ANY


def types_of(schema: Schema) -> tuple[str, ...]:
    """The types that a schema names, or the one that its words are about; none: any."""
    named: Any = schema.get("type")
    if isinstance(named, list):
        return tuple(dict.fromkeys(map(str, cast("list[object]", named))))
    if named is not None:
        return (str(named),)
    return next(((kind,) for word, kind in TYPE_OF_WORD.items() if word in schema), ())


def are_disjoint(one: object, other: object) -> bool:
    """Whether two objects differ surely: by a property that both must have, of which they allow other values."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return False
    here, there = _required_values(cast("Schema", one)), _required_values(cast("Schema", other))
    return any(not set(here[name]) & set(there[name]) for name in here.keys() & there.keys())


def _required_values(schema: Schema) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    for name in schema.get("required", ()):
        part: Any = schema.get("properties", {}).get(name)
        if isinstance(part, dict) and ("const" in part or "enum" in part):
            described = cast("Schema", part)
            values: list[object] = [described["const"]] if "const" in described else described["enum"]
            found[name] = [msgspec.json.encode(value) for value in values]
    return found


def _begin_of(value: object) -> frozenset[str]:
    first = msgspec.json.encode(value)[:1].decode()
    return frozenset("#" if first.isdecimal() or first == "-" else first)
