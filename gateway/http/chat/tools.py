"""What a chat request says of functions to call and of the form of its answer, and what a task then demands."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta, Raw, Struct, field

from gateway.http.errors import ApiError
from gateway.http.file_search.request import FileSearchTool
from streams.tasks.chat import TokenBias
from streams.tasks.tools import MOST_FUNCTIONS, Function, FunctionName, OutputFormat, Tools


class FunctionObject(Struct, frozen=True):
    """``tools[].function``."""

    name: FunctionName
    description: Annotated[str, Meta(max_length=16_384)] | None = None
    parameters: Raw = field(default_factory=Raw)
    strict: bool | None = None


class Tool(Struct, frozen=True, tag_field="type", tag="function"):
    """``tools[]``; OpenAI's tools of other types are refused by their type."""

    function: FunctionObject


AnyTool = Tool | FileSearchTool
"""A function, or (which OpenAI has in its Responses API only) what searches files before the model answers."""

ToolList = Annotated[list[AnyTool], Meta(max_length=MOST_FUNCTIONS)]


class ChosenFunction(Struct, frozen=True):
    """``tool_choice.function``."""

    name: FunctionName


class NamedChoice(Struct, frozen=True):
    """``tool_choice`` that names the one function to call."""

    type: Literal["function"]
    function: ChosenFunction


ToolChoice = Literal["none", "auto", "required"] | NamedChoice


class TextFormat(Struct, frozen=True, tag_field="type", tag="text"):
    """``response_format``: plain text."""


class ObjectFormat(Struct, frozen=True, tag_field="type", tag="json_object"):
    """``response_format``: any JSON object."""


class SchemaObject(Struct, frozen=True):
    """``response_format.json_schema``."""

    name: FunctionName
    description: str | None = None
    schema: Raw = field(default_factory=Raw)
    strict: bool | None = None


class SchemaFormat(Struct, frozen=True, tag_field="type", tag="json_schema"):
    """``response_format``: JSON under a schema."""

    json_schema: SchemaObject


ResponseFormat = TextFormat | ObjectFormat | SchemaFormat

Bias = Annotated[float, Meta(ge=-100, le=100)]
LogitBias = Annotated[dict[str, Bias], Meta(max_length=1024)]

_LARGEST_TOKEN: Final = 2**31 - 1
_NULL: Final = b"null"


def tools_of(given: list[AnyTool] | None, choice: ToolChoice | None, *, parallel: bool | None) -> Tools | None:
    """The functions of a task.

    Raises:
        ApiError: 400, if something is said of functions that are not there.
    """
    tools = [tool for tool in given or () if isinstance(tool, Tool)]
    if given and not tools and not isinstance(choice, NamedChoice):
        # What searches files needs no call of the model.
        return None
    if not tools:
        if choice in (None, "none", "auto") and parallel is None:
            return None
        name = "parallel_tool_calls" if choice in (None, "none", "auto") else "tool_choice"
        message = f"'{name}' is only allowed when 'tools' are specified."
        raise ApiError(400, message, code="invalid_value", param=name)
    return Tools(
        functions=tuple([_function(tool.function) for tool in tools]),
        choice="named" if isinstance(choice, NamedChoice) else choice or "auto",
        name=choice.function.name if isinstance(choice, NamedChoice) else None,
        parallel=parallel is not False,
    )


def _function(given: FunctionObject) -> Function:
    return Function(
        name=given.name,
        description=given.description or "",
        parameters_json=json_of(given.parameters),
        strict=bool(given.strict),
    )


def format_of(wanted: ResponseFormat | None) -> OutputFormat | None:
    """The form of a task's answer; None: plain text."""
    match wanted:
        case ObjectFormat():
            return OutputFormat(kind="json_object")
        case SchemaFormat(json_schema=given):
            schema = json_of(given.schema)
            return OutputFormat(kind="json_schema", name=given.name, schema_json=schema, strict=bool(given.strict))
        case _:
            return None


def biases_of(given: dict[str, float] | None) -> tuple[TokenBias, ...]:
    """The biases on tokens, by the numbers of the model's vocabulary.

    Raises:
        ApiError: 400, if a key is no such number.
    """
    return tuple([TokenBias(token=_token(name), bias=bias) for name, bias in (given or {}).items()])


def _token(name: str) -> int:
    if name.isascii() and name.isdigit() and len(name) <= len(str(_LARGEST_TOKEN)) and int(name) <= _LARGEST_TOKEN:
        return int(name)
    message = f"Invalid value for 'logit_bias': {name[:64]!r} is no token of a vocabulary; its keys are their numbers."
    raise ApiError(400, message, code="invalid_value", param="logit_bias")


def json_of(raw: Raw) -> str:
    """Return the JSON text as it was sent; empty, where nothing or null was.

    Raises:
        ApiError: 400, if it is not UTF-8.
    """
    data = bytes(raw)
    try:
        return "" if data == _NULL else data.decode()
    except UnicodeDecodeError as error:
        # What is not looked into while the body is read, is not known to be text.
        message = "We could not parse the JSON body of your request: a schema in it is not UTF-8."
        raise ApiError(400, message, code="invalid_json") from error
