"""The words of JSON Schema: which say nothing that must be enforced, and which no grammar of ours can enforce."""

from __future__ import annotations

from typing import Any, Final

Schema = dict[str, Any]
"""JSON of a user's making: nothing more is known of it."""

ANNOTATIONS: Final = frozenset(
    {
        "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$schema", "$id", "id",
        "$comment", "$anchor", "$defs", "definitions", "contentMediaType", "contentEncoding",
    }
)  # fmt: skip

UNENFORCED: Final = frozenset(
    {
        "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies", "contains", "minContains",
        "maxContains", "propertyNames", "patternProperties", "unevaluatedProperties", "unevaluatedItems", "pattern",
        "$dynamicRef", "$recursiveRef", "multipleOf", "uniqueItems", "additionalItems",
    }
)  # fmt: skip
"""A grammar decides character by character, and remembers only where it is."""

TYPE_OF_WORD: Final = {
    "properties": "object",
    "required": "object",
    "additionalProperties": "object",
    "minProperties": "object",
    "maxProperties": "object",
    "items": "array",
    "prefixItems": "array",
    "minItems": "array",
    "maxItems": "array",
    "minLength": "string",
    "maxLength": "string",
    "format": "string",
    "minimum": "number",
    "maximum": "number",
    "exclusiveMinimum": "number",
    "exclusiveMaximum": "number",
}
"""A schema without a type is taken for one of the first of these that it has: a value that it allows all the same."""

_HEX: Final = "[0-9a-f]"
_TIME: Final = '( [0-1] [0-9] | "2" [0-3] ) ":" [0-5] [0-9] ":" [0-5] [0-9] "Z"'
_DATE: Final = '[12] [0-9]{3} "-" ( "0" [1-9] | "1" [0-2] ) "-" ( "0" [1-9] | "1" [0-9] | "2" [0-8] )'
_BYTE: Final = '( [0-9] | [1-9] [0-9] | "1" [0-9] [0-9] | "2" [0-4] [0-9] | "25" [0-5] )'
_NAME: Final = "[a-z0-9] ( [._-]? [a-z0-9] ){0,30}"

FORMATS: Final = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f'{_DATE} "T" {_TIME}',
    "uuid": f'{_HEX}{{8}} "-" {_HEX}{{4}} "-" {_HEX}{{4}} "-" {_HEX}{{4}} "-" {_HEX}{{12}}',
    "ipv4": f'{_BYTE} "." {_BYTE} "." {_BYTE} "." {_BYTE}',
    "email": f'{_NAME} "@" [a-z0-9] ( "-"? [a-z0-9] ){{0,20}} "." [a-z]{{2,6}}',
}
"""Some of each: no day after the 28th, no time zone but UTC."""

CHAR: Final = (
    '[^"\\\\\\x00-\\x1F\\x7F] | "\\\\" ( ["\\\\/bfnrt] | "u" '
    "( [0-9a-cA-CeEfF] [0-9a-fA-F]{3} | [dD] [0-7] [0-9a-fA-F]{2} ) )"
)
"""A character of a JSON string; no half of a surrogate pair, which is none."""
