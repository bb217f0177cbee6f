"""The input of a response as the messages of a task, and its functions and formats as what a task demands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from gateway.http.chat import tools as chat_tools
from gateway.http.chat.tools import (
    AnyTool,
    ChosenFunction,
    FunctionObject,
    SchemaObject,
    Tool,
    format_of,
    tools_of,
)
from gateway.http.errors import ApiError
from gateway.http.file_search import request as file_search
from gateway.http.file_search.request import FileSearchTool
from gateway.http.responses.request import FunctionTool, InputImage, NamedChoice, SchemaFormat, SearchChoice
from streams.tasks.chat import ImagePart, Message, TextPart, ToolCall

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.http.file_search.request import Wanted
    from gateway.http.responses.request import InputItem, Part, ResponseRequest
    from gateway.intake.pictures import Picture
    from streams.tasks.tools import OutputFormat, Tools


def picture_urls(given: str | Sequence[InputItem]) -> Iterator[tuple[str, str]]:
    """Yield the URL of each picture, with the name of the parameter that it stands in."""
    for index, item in enumerate(() if isinstance(given, str) else given):
        for at, part in enumerate(item.content if isinstance(item.content, list) else ()):
            if isinstance(part, InputImage):
                yield part.image_url, f"input[{index}].content[{at}].image_url"


def messages_of(given: str | Sequence[InputItem], pictures: Mapping[str, Picture]) -> tuple[Message, ...]:
    """The messages that an input is, with those of its pictures that are there; calls side by side are one turn's.

    Raises:
        ApiError: 400, naming the item that is wrong.
    """
    if isinstance(given, str):
        return (Message(role="user", content=given),)
    messages: list[Message] = []
    for index, item in enumerate(given):
        place = f"input[{index}]"
        match item.type:
            case "message":
                messages.append(_said(item, place, pictures))
            case "function_call":
                _add_call(messages, item, place)
            case "function_call_output":
                messages.append(_result(item, place))
            case "file_search_call":
                pass
    return tuple(messages)


def demands_of(request: ResponseRequest) -> tuple[Tools | None, OutputFormat | None]:
    """What the answer may call, and the form that it must have.

    Raises:
        ApiError: 400, if something is said of functions that are not there.
    """
    given = request.tools or ()
    functions = [
        Tool(
            function=FunctionObject(
                name=tool.name, description=tool.description, parameters=tool.parameters, strict=tool.strict
            )
        )
        for tool in given
        if isinstance(tool, FunctionTool)
    ]
    choice = None if isinstance(request.tool_choice, SearchChoice) else request.tool_choice
    if isinstance(choice, NamedChoice):
        choice = chat_tools.NamedChoice(type="function", function=ChosenFunction(name=choice.name))
    # OpenAI's own client may say this beside no tools.
    parallel = request.parallel_tool_calls if functions else None
    tools: list[AnyTool] = [*functions, *(tool for tool in given if isinstance(tool, FileSearchTool))]
    wanted = None if request.text is None else request.text.format
    if isinstance(wanted, SchemaFormat):
        schema = SchemaObject(name=wanted.name, schema=wanted.schema, strict=wanted.strict)
        wanted = chat_tools.SchemaFormat(json_schema=schema)
    return tools_of(tools, choice, parallel=parallel), format_of(wanted)


def search_of(request: ResponseRequest) -> Wanted | None:
    """What to search before the question is put; None: nothing.

    Raises:
        ApiError: 400, if that makes no sense.
    """
    tools = [tool for tool in request.tools or () if isinstance(tool, FileSearchTool)]
    if isinstance(request.tool_choice, SearchChoice) and not tools:
        message = "'tool_choice' asks for file_search, and there is no such tool in 'tools'."
        raise ApiError(400, message, code="invalid_value", param="tool_choice")
    found = file_search.search_of(tools, shows_results=bool(request.include), most_calls=request.max_tool_calls)
    return None if request.tool_choice == "none" else found


def _said(item: InputItem, place: str, pictures: Mapping[str, Picture]) -> Message:
    if item.role is None:
        raise _missing(f"{place}.role")
    if item.content is None:
        raise _missing(f"{place}.content")
    if isinstance(item.content, str):
        return Message(role=item.role, content=item.content)
    parts = [_part(part, pictures) for part in item.content]
    texts = [part.text for part in parts if isinstance(part, TextPart)]
    has_pictures = len(texts) < len(parts)
    if has_pictures and item.role != "user":
        message = f"Invalid value for '{place}.content': a turn of the role {item.role} has no pictures."
        raise ApiError(400, message, code="invalid_value", param=f"{place}.content")
    return Message(role=item.role, content="".join(texts), parts=tuple(parts) if has_pictures else ())


def _add_call(messages: list[Message], item: InputItem, place: str) -> None:
    if item.call_id is None:
        raise _missing(f"{place}.call_id")
    if item.name is None:
        raise _missing(f"{place}.name")
    call = ToolCall(id=item.call_id, name=item.name, arguments=item.arguments or "")
    if messages and messages[-1].role == "assistant":
        messages[-1] = replace(messages[-1], tool_calls=(*messages[-1].tool_calls, call))
    else:
        messages.append(Message(role="assistant", content="", tool_calls=(call,)))


def _result(item: InputItem, place: str) -> Message:
    if item.call_id is None:
        raise _missing(f"{place}.call_id")
    if item.output is None:
        raise _missing(f"{place}.output")
    output = item.output
    if not isinstance(output, str):
        texts = [part.text for part in output if not isinstance(part, InputImage)]
        if len(texts) < len(output):
            message = f"Invalid value for '{place}.output': what came of a call is text."
            raise ApiError(400, message, code="invalid_value", param=f"{place}.output")
        output = "".join(texts)
    return Message(role="tool", content=output, tool_call_id=item.call_id)


def _part(part: Part, pictures: Mapping[str, Picture]) -> TextPart | ImagePart:
    if not isinstance(part, InputImage):
        return TextPart(text=part.text)
    picture = pictures.get(part.image_url)
    return ImagePart(
        media_type="" if picture is None else picture.media_type,
        data=b"" if picture is None else picture.data,
        detail=part.detail or "auto",
    )


def _missing(place: str) -> ApiError:
    message = f"Missing required parameter: '{place}'."
    return ApiError(400, message, code="missing_required_parameter", param=place)
