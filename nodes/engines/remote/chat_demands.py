"""Tools, formats, pictures and the rest as OpenAI's chat completions have them: what goes out beside plain text."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any, Literal

from msgspec import UNSET, Struct, UnsetType

from nodes.engines.grammar.schema_grammar import read_schema
from streams.tasks.chat import ImagePart

if TYPE_CHECKING:
    from streams.tasks.chat import Message, TextPart
    from streams.tasks.tools import Function, OutputFormat, Tools


class _Call(Struct, frozen=True, kw_only=True):
    id: str
    function: _Called
    type: Literal["function"] = "function"


class _Called(Struct, frozen=True, kw_only=True):
    name: str
    arguments: str


class _Url(Struct, frozen=True, kw_only=True, omit_defaults=True):
    url: str
    detail: str = "auto"


class _Part(Struct, frozen=True, kw_only=True, omit_defaults=True):
    type: str
    text: str | UnsetType = UNSET
    image_url: _Url | UnsetType = UNSET


class Turn(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message."""

    role: str
    content: str | list[_Part] | None
    tool_calls: list[_Call] | UnsetType = UNSET
    tool_call_id: str | UnsetType = UNSET


class _Told(Struct, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    description: str = ""
    parameters: dict[str, Any] | UnsetType = UNSET
    strict: bool = False


class Tool(Struct, frozen=True, kw_only=True):
    """A function that may be called."""

    function: _Told
    type: Literal["function"] = "function"


class _Named(Struct, frozen=True, kw_only=True):
    name: str


class Choice(Struct, frozen=True, kw_only=True):
    """The function that must be called."""

    function: _Named
    type: Literal["function"] = "function"


class _Schema(Struct, frozen=True, kw_only=True):
    name: str
    schema: dict[str, Any]
    strict: bool


class Format(Struct, frozen=True, kw_only=True):
    """What the answer must look like."""

    type: str
    json_schema: _Schema | UnsetType = UNSET


def turn_of(message: Message) -> Turn:
    """Write a message."""
    calls = [
        _Call(id=call.id, function=_Called(name=call.name, arguments=call.arguments)) for call in message.tool_calls
    ]
    has_pictures = any(isinstance(part, ImagePart) for part in message.parts)
    said: str | list[_Part] | None = [_part(part) for part in message.parts] if has_pictures else message.content
    return Turn(
        role=message.role,
        content=None if calls and not message.content else said,
        tool_calls=calls or UNSET,
        tool_call_id=UNSET if message.tool_call_id is None else message.tool_call_id,
    )


def tools_of(tools: Tools) -> list[Tool]:
    """Write the functions.

    Their schemas are read and written anew: what is no JSON, and could end the request before its time, is refused.

    Raises:
        RequestRefused: ``unsupported_schema``.
    """
    return [Tool(function=_told(function)) for function in tools.functions]


def choice_of(tools: Tools) -> str | Choice:
    """Write whether one must be called."""
    return Choice(function=_Named(name=tools.name or "")) if tools.choice == "named" else tools.choice


def format_of(output_format: OutputFormat) -> Format:
    """Write the format.

    Raises:
        RequestRefused: ``unsupported_schema``.
    """
    if output_format.kind == "json_object" or not output_format.schema_json:
        return Format(type="json_object")
    schema = read_schema(output_format.schema_json)
    named = _Schema(name=output_format.name or "answer", schema=schema, strict=output_format.strict)
    return Format(type="json_schema", json_schema=named)


def _told(function: Function) -> _Told:
    return _Told(
        name=function.name,
        description=function.description,
        parameters=read_schema(function.parameters_json) if function.parameters_json else UNSET,
        strict=function.strict,
    )


def _part(part: TextPart | ImagePart) -> _Part:
    if isinstance(part, ImagePart):
        data = b64encode(part.data).decode()
        return _Part(type="image_url", image_url=_Url(url=f"data:{part.media_type};base64,{data}", detail=part.detail))
    return _Part(type="text", text=part.text)
