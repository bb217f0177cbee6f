"""What is wrong with a JSON body, in OpenAI's words: which parameter, what was expected, what came."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.http.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_PLACE: Final = re.compile(r"^(?P<what>.*?)(?: - at (?:`key` in )?`\$?\.?(?P<param>[^`]*)`)?$", re.DOTALL)
_TYPED: Final = re.compile(r"(?:.*\.)?(\w+)(?:\[\d+\])?\.type")
_TYPES: Final = {
    "content": ("text", "image_url"),
    "response_format": ("text", "json_object", "json_schema"),
    "tools": ("function", "file_search"),
}
"""What may stand in a ``type``; elsewhere it is ``function``."""
_INSTEAD: Final = {
    "functions": "Use 'tools', which OpenAI has in its place.",
    "function_call": "Use 'tool_choice', which OpenAI has in its place.",
}
_MISSING: Final = re.compile(r"Object missing required field `([^`]+)`")
_TYPE: Final = re.compile(r"Expected `([^`]+)`(?:, got `([^`]+)`)?")
"""Of a word by which a type is told, msgspec does not say what came in its place."""
_KINDS: Final = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "array": "an array",
    "object": "an object",
    "null": "null",
}


def explain(
    error: Exception,
    *,
    allowed: Mapping[str, Collection[str]] | None = None,
    unsupported: Collection[str] = (),
    unsupported_values: Collection[str] = (),
) -> ApiError:
    """Turn a decoder's error into an answer.

    Args:
        error: what msgspec raised.
        allowed: the choices of a field, to be listed when something else was given.
        unsupported: fields that exist in OpenAI's API and do not work here at all.
        unsupported_values: fields of which only some values work here.
    """
    if not isinstance(error, msgspec.ValidationError):
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        message = f"We could not parse the JSON body of your request: {reason}."
        return ApiError(400, message, code="invalid_json")
    place = _PLACE.match(str(error))
    what, param = (place["what"], _named(place["param"] or "")) if place else (str(error), "")
    missing = _MISSING.match(what)
    if missing is not None:
        name = f"{param}.{missing[1]}" if param else missing[1]
        return ApiError(400, f"Missing required parameter: '{name}'.", code="missing_required_parameter", param=name)
    fields = _fields(param)
    if fields & set(unsupported):
        message = f"Unsupported parameter: '{param}'. {_INSTEAD.get(param, 'No engine of this mesh can do that.')}"
        return ApiError(400, message, code="unsupported_parameter", param=param)
    if fields & set(unsupported_values) and not _TYPE.fullmatch(what):
        message = f"Unsupported value: '{param}' does not support this value on this mesh."
        return ApiError(400, message, code="unsupported_value", param=param)
    return _explain_value(what, param, (allowed or {}).get(param.rpartition(".")[2]))


def _explain_value(what: str, param: str, allowed: Collection[str] | None) -> ApiError:
    wrong_type = _TYPE.fullmatch(what)
    if not param:
        expected = "The body must be a JSON object." if wrong_type else what
        return ApiError(400, f"Invalid body. {expected}", code="invalid_type")
    if wrong_type is not None:
        expected, got = _kinds(wrong_type[1]), _KINDS.get(wrong_type[2] or "", wrong_type[2] or "something else")
        message = f"Invalid type for '{param}': expected {expected}, but got {got} instead."
        return ApiError(400, message, code="invalid_type", param=param)
    if (of_type := _TYPED.fullmatch(param)) is not None:
        known = _TYPES.get(of_type[1], ("function",))
        message = f"Unsupported value: '{param}'. Supported values are: {', '.join(known)}."
        return ApiError(400, message, code="unsupported_value", param=param)
    hint = f" Supported values are: {', '.join(allowed)}." if allowed else ""
    message = f"Invalid value for '{param}': {what.replace('`', '')}.{hint}"
    return ApiError(400, message, code="invalid_value", param=param)


def _named(place: str) -> str:
    """A place as OpenAI writes it: of a mapping, whose names msgspec shows as ``[...]``, the mapping."""
    return place.replace("[...]", "")


def _fields(param: str) -> set[str]:
    return {part.partition("[")[0] for part in param.split(".")}


def _kinds(expected: str) -> str:
    names = [_KINDS.get(name.strip(), name.strip()) for name in expected.split("|")]
    return " or ".join(name for name in names if name != "null") or "null"
