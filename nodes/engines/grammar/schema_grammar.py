"""A JSON schema as rules of a grammar: whatever is written under them fits the schema.

Not all that fits can be written: one space behind commas and colons, properties in the schema's order and no others.
What a grammar cannot enforce is refused where it must be (``strict``), and else left out.

Alternatives that begin alike are followed side by side until they differ, and those inside of them as well: llama.cpp
would keep every combination. So they are counted (``width``), and refused where they would multiply without end.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from nodes.engines.grammar.alternatives import Beginnings, are_disjoint, types_of
from nodes.engines.grammar.containers import array_body, object_body
from nodes.engines.grammar.numbers import INTEGER, NUMBER, integers, numbers
from nodes.engines.grammar.rules import literal, one_of
from nodes.engines.grammar.schema_words import ANNOTATIONS, CHAR, FORMATS, UNENFORCED
from nodes.errors import RequestRefused

if TYPE_CHECKING:
    from nodes.engines.grammar.rules import Rules
    from nodes.engines.grammar.schema_words import Schema

_DEEPEST: Final = 32
_WIDEST: Final = 16
_MOST_CHOICES: Final = 500
"""Values of one enum, or alternatives."""


def unsupported(why: str) -> RequestRefused:
    """Make the refusal of a schema."""
    return RequestRefused("unsupported_schema", f"this schema cannot be enforced: {why}")


def read_schema(schema_json: str) -> Schema:
    """Read a schema.

    Raises:
        RequestRefused: ``unsupported_schema``: it is no JSON object.
    """
    try:
        return msgspec.json.decode(schema_json, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise unsupported(f"it is no JSON object ({error})") from error


class SchemaGrammar:
    """Turns one schema, and what it refers to inside of itself, into rules."""

    def __init__(self, rules: Rules, root: Schema, *, strict: bool) -> None:
        """Add to ``rules``; where not ``strict``, what cannot be enforced is passed over."""
        self.rules = rules
        self._root = root
        self._strict = strict
        self._named: dict[tuple[str, int], str] = {}
        self._open: dict[str, int] = {}
        """References that are being written, and the width at which they began."""
        self._beginnings = Beginnings(self._target)

    def write(self) -> str:
        """Add the rules, and return the name of the first.

        Raises:
            RequestRefused: ``unsupported_schema``.
        """
        try:
            return self.value(self._root, 1, 0)
        except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise unsupported("one of its keywords has a value that no such keyword can have") from error

    def value(self, schema: object, width: int, depth: int, fresh: frozenset[str] = frozenset()) -> str:
        """Add the rule of a part; ``fresh`` are references that were followed without writing a character."""
        if depth > _DEEPEST:
            raise unsupported(f"it is nested more than {_DEEPEST} levels deep")
        if schema is True or schema == {}:
            return self.any_value()
        if not isinstance(schema, dict):
            raise unsupported("a part of it allows nothing, or is no schema")
        return self._value(cast("Schema", schema), width, depth, fresh)

    def any_value(self) -> str:
        """Any JSON."""
        self.rules.shared("char", CHAR)
        self.rules.shared("string", '"\\"" char* "\\""')
        self.rules.shared("object", '"{" ( string ": " any ( ", " string ": " any )* )? "}"')
        self.rules.shared("array", '"[" ( any ( ", " any )* )? "]"')
        number = self.rules.shared("number", NUMBER)
        return self.rules.shared("any", f'object | array | string | {number} | "true" | "false" | "null"')

    def leave_out(self, word: str) -> None:
        """Pass over a word that no grammar enforces, where that is allowed."""
        if self._strict:
            raise unsupported(f"{word!r} is not one of the keywords that a grammar can enforce")

    def _value(self, schema: Schema, width: int, depth: int, fresh: frozenset[str]) -> str:
        for word in UNENFORCED.intersection(schema):
            if not _says_nothing(word, schema):
                self.leave_out(word)
        if "$ref" in schema:
            self._check_alone(schema, "$ref")
            return self._reference(schema["$ref"], width, depth, fresh)
        if "const" in schema or "enum" in schema:
            return self._choice(schema, width)
        if "allOf" in schema:
            return self._value(self._all_of(schema), width, depth + 1, fresh)
        for word in ("anyOf", "oneOf"):
            if word in schema:
                return self._any_of(schema, word, width, depth, fresh)
        kinds = types_of(schema)
        if not kinds:
            return self.any_value()
        return self.rules.add("value", " | ".join(self._typed(kind, schema, width, depth) for kind in kinds))

    def _typed(self, kind: str, schema: Schema, width: int, depth: int) -> str:
        if kind in {"object", "array"} and width > _WIDEST:
            raise unsupported(f"more than {_WIDEST} of its alternatives begin alike at once")
        match kind:
            case "object":
                if width * len(schema.get("properties", ())) > _MOST_CHOICES:
                    raise unsupported(f"an object has more than {_MOST_CHOICES // width} properties")
                return object_body(self, schema, width, depth)
            case "array":
                return array_body(self, schema, width, depth)
            case "string":
                return self._string(schema)
            case "integer" | "number":
                return self._number(kind, schema)
            case "boolean":
                return '"true" | "false"'
            case "null":
                return '"null"'
            case _:
                raise unsupported(f"there is no type {kind!r}")

    # --- references and combinations ---------------------------------------------------------------------------------

    def _reference(self, pointer: object, width: int, depth: int, fresh: frozenset[str]) -> str:
        place = str(pointer)
        if place in fresh:
            raise unsupported(f"{place!r} refers to itself alone")
        if width > self._open.get(place, width):
            raise unsupported(f"{place!r} is recursive inside of alternatives that begin alike")
        known = self._named.get((place, width))
        if known is not None:
            return known
        name = self._named[place, width] = self.rules.reserve("ref")
        is_first = place not in self._open
        self._open.setdefault(place, width)
        self.rules.set(name, self.value(self._target(place), width, depth + 1, fresh | {place}))
        if is_first:
            del self._open[place]
        return name

    def _target(self, pointer: object) -> Any:
        if not isinstance(pointer, str) or not (pointer == "#" or pointer.startswith("#/")):
            raise unsupported(f"it refers to {pointer!r}, which is not inside of it")
        found: Any = self._root
        for part in pointer.split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, dict) or name not in found:
                raise unsupported(f"it refers to {pointer!r}, which is not there")
            found = cast("Schema", found)[name]
        return found

    def _any_of(self, schema: Schema, word: str, width: int, depth: int, fresh: frozenset[str]) -> str:
        rest = {key: item for key, item in schema.items() if key != word and key not in ANNOTATIONS}
        options: list[object] = [self._merged([rest, option]) if rest else option for option in schema[word]]
        if not 0 < len(options) <= _MOST_CHOICES:
            raise unsupported(f"{word!r} must have 1 to {_MOST_CHOICES} alternatives")
        begins = [self._beginnings.of(option) for option in options]
        if word == "oneOf":
            self._check_exclusive(options, begins)
        names: list[str] = []
        for option, begin in zip(options, begins, strict=True):
            alike = sum(1 for other in begins if begin & other)
            names.append(self.value(option, width * alike, depth + 1, fresh))
        return self.rules.add("either", " | ".join(dict.fromkeys(names)))

    def _check_exclusive(self, options: list[object], begins: list[frozenset[str]]) -> None:
        for at, one in enumerate(options):
            for place in range(at):
                other = options[place]
                if not begins[at] & begins[place]:
                    continue
                if not are_disjoint(one, other):
                    self.leave_out("oneOf")

    def _all_of(self, schema: Schema) -> Schema:
        rest = {key: item for key, item in schema.items() if key != "allOf"}
        return self._merged([rest, *schema["allOf"]])

    def _merged(self, parts: list[Any]) -> Schema:
        """One schema of several that all hold: where they are about other things, or about properties of an object."""
        merged: Schema = {}
        for part in parts:
            full: Schema = self._target(part["$ref"]) if set(part) - ANNOTATIONS == {"$ref"} else part
            for word, said in full.items():
                if word in ANNOTATIONS or word not in merged or merged[word] == said:
                    merged.setdefault(word, said)
                elif word == "required":
                    merged[word] = [*merged[word], *said]
                elif word == "properties" and not set(said).intersection(merged[word]):
                    merged[word] = {**merged[word], **said}
                else:
                    self.leave_out("allOf")
        return merged

    def _check_alone(self, schema: Schema, word: str) -> None:
        for other in schema:
            if other != word and other not in ANNOTATIONS:
                self.leave_out(f"{other} beside {word}")

    # --- plain values ------------------------------------------------------------------------------------------------

    def _choice(self, schema: Schema, width: int) -> str:
        values: list[object] = [schema["const"]] if "const" in schema else schema["enum"]
        if not 0 < len(values) * width <= _MOST_CHOICES:
            raise unsupported(f"'enum' must have 1 to {_MOST_CHOICES // width} values here")
        kinds = schema.get("type")
        if kinds is not None:
            values = [value for value in values if _has_type(value, types_of(schema))]
        for word in schema:
            if word not in ANNOTATIONS and word not in {"const", "enum", "type"}:
                self.leave_out(f"{word} beside enum")
        if not values:
            raise unsupported("no value of an 'enum' has its 'type'")
        texts = [json.dumps(value, ensure_ascii=False) for value in values]
        return self.rules.add("choice", " | ".join(map(literal, dict.fromkeys(texts))))

    def _string(self, schema: Schema) -> str:
        least, most = schema.get("minLength", 0), schema.get("maxLength")
        if "format" in schema:
            known = FORMATS.get(str(schema["format"]))
            if known is not None and not least and most is None:
                return self.rules.add("text", f'"\\"" {known} "\\""')
            self.leave_out(f"format: {schema['format']}")
        if most is not None and int(most) < int(least):
            raise unsupported("'maxLength' is less than 'minLength'")
        self.rules.shared("char", CHAR)
        chars = self.rules.repeated("char", int(least), None if most is None else int(most))
        return f'"\\"" {chars} "\\""'

    def _number(self, kind: str, schema: Schema) -> str:
        low, high = _bound(schema, "inimum", max), _bound(schema, "aximum", min)
        if low is None and high is None:
            return self.rules.shared("integer", INTEGER) if kind == "integer" else self.rules.shared("number", NUMBER)
        body = integers(low, high) if kind == "integer" else numbers(low, high)
        if body is None:
            raise unsupported("no integer lies between its bounds, and no other numbers are written")
        return one_of([body]) if " | " not in body else f"( {body} )"


def _bound(schema: Schema, word: str, tighter: Any) -> float | None:
    given = [schema[f"m{word}"]] if f"m{word}" in schema else []
    exclusive = schema.get(f"exclusiveM{word}")
    if isinstance(exclusive, bool):
        raise unsupported(f"'exclusiveM{word}' must be a number")
    if exclusive is not None:
        # Numbers are written from integer to integer only: the next one is surely beyond the bound.
        step = 1 if word == "inimum" else -1
        given.append(exclusive + step if int(exclusive) == exclusive else exclusive)
    return tighter(given) if given else None


def _says_nothing(word: str, schema: Schema) -> bool:
    if word == "uniqueItems":
        return schema[word] is False or schema.get("maxItems", 2) <= 1
    return word == "multipleOf" and schema[word] == 1 and schema.get("type") == "integer"


def _has_type(value: object, kinds: tuple[str, ...]) -> bool:
    match value:
        case bool():
            return "boolean" in kinds
        case None:
            return "null" in kinds
        case str():
            return "string" in kinds
        case int():
            return "integer" in kinds or "number" in kinds
        case float():
            return "number" in kinds or ("integer" in kinds and value.is_integer())
        case list():
            return "array" in kinds
        case _:
            return "object" in kinds
