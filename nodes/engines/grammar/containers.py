"""Rules for objects and lists."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from nodes.engines.grammar.rules import literal
from nodes.engines.grammar.schema_words import CHAR
from nodes.errors import RequestRefused

if TYPE_CHECKING:
    from nodes.engines.grammar.schema_grammar import SchemaGrammar
    from nodes.engines.grammar.schema_words import Schema


class _Property(NamedTuple):
    rule: str
    is_required: bool


def object_body(grammar: SchemaGrammar, schema: Schema, width: int, depth: int) -> str:
    """Write an object's properties in their order; what is not required may be left out."""
    described: Schema = schema.get("properties", {})
    required = set(map(str, schema.get("required", ())))
    other: Any = schema.get("additionalProperties", True)
    if not described and not required and other is not False:
        return _map(grammar, schema, other, width, depth)
    parts = {name: described.get(name, other) for name in (*described, *sorted(required - set(described)))}
    if unknown := [name for name, part in parts.items() if part is False and name in required]:
        raise RequestRefused("unsupported_schema", f"this schema requires {unknown[0]!r} and does not allow it")
    found = [
        _Property(_pair(grammar, name, part, width, depth), name in required)
        for name, part in parts.items()
        if part is not False
    ]
    if schema.get("minProperties", 0) > len(required):
        grammar.leave_out("minProperties")
    if schema.get("maxProperties", len(found)) < len(found):
        grammar.leave_out("maxProperties")
    return f'"{{" {_in_order(grammar, found)}'


def array_body(grammar: SchemaGrammar, schema: Schema, width: int, depth: int) -> str:
    """Write a list."""
    first: list[object] = schema.get("prefixItems", [])
    items: Any = schema.get("items", True)
    least, most = int(schema.get("minItems", 0)), schema.get("maxItems")
    most = None if most is None else int(most)
    if isinstance(items, list):
        grammar.leave_out("items as a list")
        items = True
    if most is not None and most < least:
        raise RequestRefused("unsupported_schema", "this schema has a 'maxItems' that is less than its 'minItems'")
    if first:
        return _tuple(grammar, first[: most if most is not None else len(first)], items, least, (width, depth))
    if most == 0 or items is False:
        if least:
            raise RequestRefused("unsupported_schema", "this schema wants items and allows none")
        return '"[]"'
    item = grammar.value(items, width, depth + 1)
    more = grammar.rules.repeated(f'( ", " {item} )', max(0, least - 1), None if most is None else most - 1)
    listed = f"{item} {more}"
    return f'"[" {listed} "]"' if least else f'"[" ( {listed} )? "]"'


def _tuple(grammar: SchemaGrammar, first: list[object], items: Any, least: int, at: tuple[int, int]) -> str:
    """A list whose first items have schemas of their own: all of them, and no more than there must be."""
    width, depth = at
    named = [grammar.value(part, width, depth + 1) for part in first]
    listed = ' ", " '.join(named)
    if least > len(named):
        more = grammar.rules.repeated(
            f'( ", " {grammar.value(items, width, depth + 1)} )', least - len(named), least - len(named)
        )
        listed = f"{listed} {more}"
    return f'"[" {listed} "]"'


def _map(grammar: SchemaGrammar, schema: Schema, other: Any, width: int, depth: int) -> str:
    """An object whose names are free."""
    least, most = schema.get("minProperties", 0), schema.get("maxProperties")
    if least > 1:
        # A name may come twice, and counts once.
        grammar.leave_out("minProperties")
    grammar.rules.shared("char", CHAR)
    grammar.rules.shared("string", '"\\"" char* "\\""')
    pair = grammar.rules.add("pair", f'string ": " {grammar.value(other, width, depth + 1)}')
    if most == 0:
        return '"{}"'
    more = grammar.rules.repeated(f'( ", " {pair} )', 0, None if most is None else int(most) - 1)
    return f'"{{" {pair} {more} "}}"' if least else f'"{{" ( {pair} {more} )? "}}"'


def _pair(grammar: SchemaGrammar, name: str, part: object, width: int, depth: int) -> str:
    value = grammar.value(part, width, depth + 1)
    return grammar.rules.add("pair", f"{literal(json.dumps(name, ensure_ascii=False) + ': ')} {value}")


def _in_order(grammar: SchemaGrammar, found: list[_Property]) -> str:
    """Rules for what may come from each property on: behind another one, and as the first."""
    rules = grammar.rules
    behind = first = '"}"'
    for at in range(len(found) - 1, -1, -1):
        pair, is_required = found[at]
        here = f"{pair} {behind}"
        first = rules.add("first", here if is_required else f"{here} | {first}")
        behind = rules.add("more", f'", " {here}' if is_required else f'", " {here} | {behind}')
    return first
