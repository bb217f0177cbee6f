"""OpenAI's objects of the Responses API, as they are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Raw, Struct

from gateway.http.errors import from_end
from gateway.http.file_search.objects import (
    FileCitation,
    FileSearchCall,
    FileSearchShown,
    annotations_of,
    search_calls,
    tool_shown,
)
from streams.tasks.task import Phase
from streams.tasks.task_id import created_ms

if TYPE_CHECKING:
    from mesh.bus.answer import AnswerText
    from streams.events import TaskSubmitted
    from streams.tasks.chat import ToolCall, Usage
    from streams.tasks.grounding import Grounding
    from streams.tasks.response_terms import ResponseTerms
    from streams.tasks.task import TaskState
    from streams.tasks.tools import Function, OutputFormat, Tools
    from streams.tokens import Token

Status = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
ItemStatus = Literal["in_progress", "completed", "incomplete"]

PREFIX = "resp_"
"""Of the id under which OpenAI's clients know a task that was asked for as a response."""


class OutputText(Struct, frozen=True, kw_only=True, tag_field="type", tag="output_text"):
    """A piece of a message that the model wrote."""

    annotations: tuple[FileCitation, ...] = ()
    logprobs: tuple[None, ...] = ()
    text: str


class OutputMessage(Struct, frozen=True, kw_only=True, tag_field="type", tag="message"):
    """What the model said."""

    id: str
    status: ItemStatus
    role: Literal["assistant"] = "assistant"
    content: tuple[OutputText, ...]


class FunctionCall(Struct, frozen=True, kw_only=True, tag_field="type", tag="function_call"):
    """A function that the model wants called."""

    id: str
    call_id: str
    name: str
    arguments: str
    status: ItemStatus


OutputItem = OutputMessage | FunctionCall | FileSearchCall


class InputTokensDetails(Struct, frozen=True, kw_only=True):
    """``usage.input_tokens_details``."""

    cached_tokens: int
    cache_write_tokens: int = 0


class OutputTokensDetails(Struct, frozen=True, kw_only=True):
    """``usage.output_tokens_details``."""

    reasoning_tokens: int = 0


class ResponseUsage(Struct, frozen=True, kw_only=True):
    """How many tokens it took."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails = OutputTokensDetails()
    total_tokens: int


class ResponseError(Struct, frozen=True, kw_only=True):
    """Why a response failed."""

    code: str
    message: str


class IncompleteDetails(Struct, frozen=True, kw_only=True):
    """Why a response is incomplete."""

    reason: Literal["max_output_tokens"] = "max_output_tokens"


class PlainFormat(Struct, frozen=True, kw_only=True, tag_field="type", tag="text"):
    """``text.format``: plain text."""


class ObjectFormat(Struct, frozen=True, kw_only=True, tag_field="type", tag="json_object"):
    """``text.format``: any JSON object."""


class SchemaFormat(Struct, frozen=True, kw_only=True, tag_field="type", tag="json_schema"):
    """``text.format``: JSON under a schema."""

    name: str
    schema: Raw
    strict: bool


class TextConfig(Struct, frozen=True, kw_only=True):
    """``text``: the form of the answer."""

    format: PlainFormat | ObjectFormat | SchemaFormat = PlainFormat()


class FunctionTool(Struct, frozen=True, kw_only=True, tag_field="type", tag="function"):
    """A function that the model may call."""

    name: str
    description: str | None
    parameters: Raw | None
    strict: bool


class NamedChoice(Struct, frozen=True, kw_only=True, tag_field="type", tag="function"):
    """That the model must call this function."""

    name: str


class Response(Struct, frozen=True, kw_only=True):
    """A response as it stands."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    status: Status
    background: bool
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None = None
    metadata: dict[str, str]
    model: str
    output: tuple[OutputItem, ...] = ()
    parallel_tool_calls: bool
    previous_response_id: str | None
    store: bool
    temperature: float | None
    text: TextConfig = TextConfig()
    tool_choice: Literal["auto", "none", "required"] | NamedChoice
    tools: tuple[FunctionTool | FileSearchShown, ...]
    top_p: float | None
    truncation: Literal["disabled"] = "disabled"
    usage: ResponseUsage | None = None


class Deleted(Struct, frozen=True, kw_only=True):
    """That a response was deleted."""

    id: str
    object: Literal["response"] = "response"
    deleted: bool = True


def response_id(task: Token | str) -> str:
    """The id of a task as a response."""
    return f"{PREFIX}{task}"


def message_item(
    task: Token, text: str, status: ItemStatus, annotations: tuple[FileCitation, ...] = ()
) -> OutputMessage:
    """What the model said, or has said so far."""
    content = () if status == "in_progress" and not text else (OutputText(text=text, annotations=annotations),)
    return OutputMessage(id=item_id(task), status=status, content=content)


def item_id(task: Token) -> str:
    """The id of the message that a task's answer is."""
    return f"msg_{task}"


def status_of(state: TaskState) -> Status:
    """How a task stands, in the words of this API."""
    match state.outcome:
        case "completed":
            return "incomplete" if state.finish_reason == "length" else "completed"
        case "cancelled":
            return "cancelled"
        case "failed" | "dead":
            return "failed"
        case None:
            return "queued" if state.phase in (Phase.SUBMITTED, Phase.WAITING) else "in_progress"


def item_status_of(status: Status) -> ItemStatus:
    """How the message of a response stands, as far as the response does."""
    match status:
        case "completed":
            return "completed"
        case "queued" | "in_progress":
            return "in_progress"
        case _:
            return "incomplete"


def call_item(task: Token, index: int, call: ToolCall, status: ItemStatus) -> FunctionCall:
    """A call of the answer, or what there is of it so far."""
    return FunctionCall(
        id=f"fc_{task}_{index}", call_id=call.id, name=call.name, arguments=call.arguments, status=status
    )


def response_of(
    task: Token, asked: TaskSubmitted, terms: ResponseTerms, answer: AnswerText, state: TaskState
) -> Response:
    """A task as a response, as it stands at ``state`` with ``answer`` written."""
    status, tools = status_of(state), asked.tools
    return Response(
        id=response_id(task),
        created_at=created_ms(task) // 1000,
        status=status,
        background=terms.background,
        error=_error_of(state) if status in ("failed", "cancelled") else None,
        incomplete_details=IncompleteDetails() if status == "incomplete" else None,
        instructions=asked.messages[0].content if terms.instructed else None,
        max_output_tokens=asked.sampling.max_tokens,
        max_tool_calls=terms.max_tool_calls,
        metadata={pair.name: pair.text for pair in terms.metadata},
        model=state.model or asked.model,
        output=_output(task, asked.grounding, answer, status),
        parallel_tool_calls=tools is None or tools.parallel,
        previous_response_id=None if terms.previous is None else response_id(terms.previous),
        store=terms.stored,
        temperature=asked.sampling.temperature,
        text=TextConfig() if asked.format is None else TextConfig(format=_format(asked.format)),
        tool_choice=_choice(tools),
        tools=_tools(tools, asked.grounding),
        top_p=asked.sampling.top_p,
        usage=None if state.usage is None or not state.is_over else usage_of(state.usage),
    )


def _output(task: Token, grounding: Grounding | None, answer: AnswerText, status: Status) -> tuple[OutputItem, ...]:
    """Its items: what was searched, a message, unless it only calls functions, and its calls."""
    searched = () if grounding is None else search_calls(task, grounding)
    text, calls, item_status = str(answer), answer.tool_calls, item_status_of(status)
    is_whole = status in ("completed", "incomplete")
    annotations = annotations_of(text, grounding) if is_whole else ()
    message = (message_item(task, text, item_status, annotations),) if text or (is_whole and not calls) else ()
    return (*searched, *message, *(call_item(task, index, call, item_status) for index, call in enumerate(calls)))


def _tools(tools: Tools | None, grounding: Grounding | None) -> tuple[FunctionTool | FileSearchShown, ...]:
    functions = [] if tools is None else [_tool(function) for function in tools.functions]
    return tuple(functions) if grounding is None else (tool_shown(grounding.search), *functions)


def _tool(function: Function) -> FunctionTool:
    return FunctionTool(
        name=function.name,
        description=function.description or None,
        parameters=Raw(function.parameters_json.encode()) if function.parameters_json else None,
        strict=function.strict,
    )


def _choice(tools: Tools | None) -> Literal["auto", "none", "required"] | NamedChoice:
    if tools is None:
        return "auto"
    return NamedChoice(name=tools.name or "") if tools.choice == "named" else tools.choice


def _format(wanted: OutputFormat) -> ObjectFormat | SchemaFormat:
    if wanted.kind == "json_object":
        return ObjectFormat()
    return SchemaFormat(name=wanted.name, schema=Raw(wanted.schema_json.encode()), strict=wanted.strict)


def usage_of(usage: Usage) -> ResponseUsage:
    """Tokens as this API names them."""
    return ResponseUsage(
        input_tokens=usage.prompt_tokens,
        input_tokens_details=InputTokensDetails(cached_tokens=usage.cached_prompt_tokens),
        output_tokens=usage.completion_tokens,
        total_tokens=usage.total_tokens,
    )


def _error_of(state: TaskState) -> ResponseError:
    error = from_end(state)
    return ResponseError(code=error.code or "server_error", message=error.message)
