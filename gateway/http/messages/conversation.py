"""What Anthropic's API says as what a task says: turns, functions, formats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from gateway.http.chat.tools import json_of
from gateway.http.errors import ApiError
from gateway.http.messages.request import ImageBlock, TextBlock, ToolResultBlock, ToolUseBlock
from streams.events import TaskSubmitted
from streams.tasks.chat import ImagePart, Message, Sampling, TextPart, ToolCall
from streams.tasks.tools import Function, OutputFormat, Tools

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.http.messages.request import Block, MessagesRequest, ToolChoice, Turn
    from gateway.intake.pictures import Picture

_CHOICES: Final[dict[str, Literal["auto", "none", "required", "named"]]] = {
    "auto": "auto",
    "any": "required",
    "tool": "named",
    "none": "none",
}
_ERROR: Final = "Error: "
"""In front of what came of a call that went wrong: no chat template has another place for it."""


def picture_urls(request: MessagesRequest) -> Iterator[tuple[str, str]]:
    """Yield the URL of each picture, with the name of the parameter that it stands in."""
    for index, turn in enumerate(request.messages):
        for at, block in enumerate(turn.content if isinstance(turn.content, list) else ()):
            if isinstance(block, ImageBlock):
                yield block.url, f"messages[{index}].content[{at}].source"


def draft_of(request: MessagesRequest, pictures: Mapping[str, Picture]) -> TaskSubmitted:
    """The task that a request asks for, without its deadline and rules, with those ``pictures`` that are there.

    Raises:
        ApiError: 400, naming the parameter that is wrong.
    """
    system = request.system
    text = "".join([block.text for block in system]) if isinstance(system, list) else system
    turns = (
        message for at, turn in enumerate(request.messages) for message in _messages(turn, f"messages[{at}]", pictures)
    )
    wanted = None if request.output_config is None else request.output_config.format
    return TaskSubmitted(
        model=request.model,
        messages=(*(() if not text else (Message(role="system", content=text),)), *turns),
        sampling=Sampling(
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            stop=tuple(request.stop_sequences or ()),
        ),
        tools=_tools(request),
        format=None
        if wanted is None
        else OutputFormat(kind="json_schema", name="answer", schema_json=json_of(wanted.schema)),
    )


def _tools(request: MessagesRequest) -> Tools | None:
    choice = request.tool_choice
    if not request.tools:
        if choice is not None and choice.type in ("any", "tool"):
            message = "'tool_choice' is only allowed when 'tools' are specified."
            raise ApiError(400, message, code="invalid_value", param="tool_choice")
        return None
    functions = [
        Function(
            name=tool.name,
            description=tool.description or "",
            parameters_json=json_of(tool.input_schema),
            strict=bool(tool.strict),
        )
        for tool in request.tools
    ]
    if choice is None:
        return Tools(functions=tuple(functions))
    return Tools(
        functions=tuple(functions),
        choice=_CHOICES[choice.type],
        name=_named(choice),
        parallel=not choice.disable_parallel_tool_use,
    )


def _named(choice: ToolChoice) -> str | None:
    if choice.type != "tool":
        return None
    if choice.name is None:
        message = "Missing required parameter: 'tool_choice.name'."
        raise ApiError(400, message, code="missing_required_parameter", param="tool_choice.name")
    return choice.name


def _messages(turn: Turn, place: str, pictures: Mapping[str, Picture]) -> Iterator[Message]:
    """The messages that a turn is: what came of calls stands in turns of its own, before what the user says."""
    if isinstance(turn.content, str):
        yield Message(role=turn.role, content=turn.content)
        return
    for at, block in enumerate(turn.content):
        of = "user" if isinstance(block, (ToolResultBlock, ImageBlock)) else "assistant"
        if not isinstance(block, TextBlock) and turn.role != of:
            where = f"{place}.content[{at}].type"
            message = f"Invalid value for '{where}': only turns of the role {of} have such a block."
            raise ApiError(400, message, code="invalid_value", param=where)
    results = [block for block in turn.content if isinstance(block, ToolResultBlock)]
    for result in results:
        yield Message(role="tool", content=_result(result), tool_call_id=result.tool_use_id)
    if len(results) < len(turn.content):
        yield _said(turn.role, turn.content, pictures)


def _said(role: str, blocks: Sequence[Block], pictures: Mapping[str, Picture]) -> Message:
    parts: list[TextPart | ImagePart] = []
    calls: list[ToolCall] = []
    for block in blocks:
        match block:
            case TextBlock():
                parts.append(TextPart(text=block.text))
            case ImageBlock():
                parts.append(_picture(pictures.get(block.url)))
            case ToolUseBlock():
                calls.append(ToolCall(id=block.id, name=block.name, arguments=json_of(block.input)))
            case ToolResultBlock():
                pass
    texts = [part.text for part in parts if isinstance(part, TextPart)]
    return Message(
        role="assistant" if role == "assistant" else "user",
        content="".join(texts),
        parts=tuple(parts) if len(texts) < len(parts) else (),
        tool_calls=tuple(calls),
    )


def _picture(picture: Picture | None) -> ImagePart:
    if picture is None:
        return ImagePart(media_type="", data=b"")
    return ImagePart(media_type=picture.media_type, data=picture.data)


def _result(block: ToolResultBlock) -> str:
    content = block.content
    text = content if isinstance(content, str) else "".join([part.text for part in content])
    return _ERROR + text if block.is_error else text
