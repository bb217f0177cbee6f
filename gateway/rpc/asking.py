"""From a request as gRPC carries it to the task that it asks for, and to what holds for that task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.http.errors import ApiError, from_task_error
from gateway.http.placing_rules import with_redaction
from gateway.http.wishes import LONGEST_DEADLINE, Wishes, usual_deadline_ms
from gateway.limits.bounds import time_error
from gateway.rpc.wire import inference_pb2 as pb
from gateway.scheduling.policies import POLICIES
from streams.clock import now_ms
from streams.codec import decode, encode
from streams.errors import InvalidTaskId, UndecodableEvent
from streams.events import TaskSubmitted
from streams.tasks.chat import ImagePart, Message, Sampling, TextPart, TokenBias, ToolCall
from streams.tasks.placing import Rules
from streams.tasks.task_id import check_age, parse_task_id
from streams.tasks.tools import Function, OutputFormat, Tools

if TYPE_CHECKING:
    from google.protobuf.message import Message as ProtoMessage

    from gateway.http.wishes import Defaults
    from gateway.settings import OnDisconnect
    from streams.subjects import ServiceClass
    from streams.tasks.chat import Role
    from streams.tokens import Token

_ROLES: Final[dict[int, Role]] = {
    pb.ROLE_SYSTEM: "system",
    pb.ROLE_DEVELOPER: "developer",
    pb.ROLE_USER: "user",
    pb.ROLE_ASSISTANT: "assistant",
    pb.ROLE_TOOL: "tool",
}
_URGENCIES: Final[dict[int, ServiceClass]] = {
    pb.URGENCY_INTERACTIVE: "interactive",
    pb.URGENCY_STANDARD: "standard",
    pb.URGENCY_BATCH: "batch",
}
_HANG_UPS: Final[dict[int, OnDisconnect]] = {
    pb.ON_HANG_UP_CONTINUE: "continue",
    pb.ON_HANG_UP_CANCEL: "cancel",
}
_CHOICES: Final[dict[int, str]] = {
    pb.TOOL_CHOICE_AUTO: "auto",
    pb.TOOL_CHOICE_NONE: "none",
    pb.TOOL_CHOICE_REQUIRED: "required",
    pb.TOOL_CHOICE_NAMED: "named",
}


def read_wishes(request: pb.SubmitRequest, defaults: Defaults) -> Wishes:
    """Return what holds for a request.

    Raises:
        ApiError: 400, naming the field that cannot be used.
    """
    longest_ms = round(LONGEST_DEADLINE.total_seconds() * 1000)
    if request.deadline_ms > longest_ms:
        raise _wrong("deadline_ms", f"it is at most {longest_ms}")
    if (error := time_error(request.deadline_ms, defaults.bounds, param="deadline_ms")) is not None:
        raise from_task_error(error)
    patience_ms = request.deadline_ms or usual_deadline_ms(defaults)
    return Wishes(
        urgency=_word(request, "urgency", _URGENCIES) or defaults.urgency,
        deadline_at_ms=now_ms() + patience_ms,
        on_disconnect=_word(request, "on_hang_up", _HANG_UPS) or defaults.on_disconnect,
        task=read_new_task_id(request.task, defaults) if request.task else None,
        rules=with_redaction(_rules(request.rules) if request.HasField("rules") else None, defaults.redaction),
        bounds=defaults.bounds,
    )


def read_task_id(text: str) -> Token:
    """Return the id of a task that a client names.

    Raises:
        ApiError: 400, if it is none.
    """
    try:
        return parse_task_id(text)
    except InvalidTaskId as error:
        raise _wrong("task", str(error)) from error


def read_new_task_id(text: str, defaults: Defaults) -> Token:
    """Return the id that a client gives to a task.

    Raises:
        ApiError: 400, if it is none, or older than what the mesh keeps.
    """
    task = read_task_id(text)
    try:
        check_age(task, now_ms=now_ms(), retention=defaults.retention)
    except InvalidTaskId as error:
        raise _wrong("task", str(error)) from error
    return task


def read_submission(request: pb.SubmitRequest, wishes: Wishes) -> TaskSubmitted:
    """Return the task that a request asks for, within all bounds of the event.

    Raises:
        ApiError: 400, naming the field that is wrong.
    """
    if sum(map(bool, (request.messages, request.prompt, request.texts))) != 1:
        raise _wrong(
            "messages", "give either messages to answer, a prompt to go on with, or texts to turn into vectors"
        )
    task = TaskSubmitted(
        model=request.model,
        messages=tuple(_message(each, f"messages[{place}]") for place, each in enumerate(request.messages)),
        prompt=request.prompt,
        texts=tuple(request.texts),
        dimensions=_given(request, "dimensions"),
        sampling=_sampling(request.sampling),
        tools=_tools(request.tools) if request.HasField("tools") else None,
        format=_format(request.format) if request.HasField("format") else None,
        deadline_at_ms=wishes.deadline_at_ms,
        rules=wishes.rules,
    )
    try:
        # The types of the event say what is too long, too large or no name at all.
        return decode(encode(task), TaskSubmitted)
    except UndecodableEvent as error:
        raise ApiError(400, f"The request cannot be used: {error}.", code="invalid_value") from error


def _message(message: pb.Message, where: str) -> Message:
    parts = tuple(_part(part, f"{where}.parts[{place}]") for place, part in enumerate(message.parts))
    texts = "".join(part.text for part in parts if isinstance(part, TextPart))
    if parts and message.content not in {"", texts}:
        raise _wrong(f"{where}.content", "where there are parts, it is their text or empty")
    return Message(
        role=_word(message, "role", _ROLES, where) or _missing(f"{where}.role"),
        content=texts if parts else message.content,
        name=message.name or None,
        # What is nothing but text needs no parts.
        parts=parts if any(isinstance(part, ImagePart) for part in parts) else (),
        tool_calls=tuple(ToolCall(id=call.id, name=call.name, arguments=call.arguments) for call in message.tool_calls),
        tool_call_id=message.tool_call_id or None,
    )


def _part(part: pb.Part, where: str) -> TextPart | ImagePart:
    match part.WhichOneof("part"):
        case "text":
            return TextPart(text=part.text)
        case "image":
            detail: Any = part.image.detail or "auto"
            return ImagePart(media_type=part.image.media_type, data=part.image.data, detail=detail)
        case _:
            raise _wrong(where, "it is neither a text nor an image")


def _sampling(sampling: pb.Sampling) -> Sampling:
    return Sampling(
        max_tokens=_given(sampling, "max_tokens"),
        temperature=_given(sampling, "temperature"),
        top_p=_given(sampling, "top_p"),
        seed=_given(sampling, "seed"),
        stop=tuple(sampling.stop),
        presence_penalty=_given(sampling, "presence_penalty"),
        frequency_penalty=_given(sampling, "frequency_penalty"),
        logit_bias=tuple(TokenBias(token=token, bias=bias) for token, bias in sorted(sampling.logit_bias.items())),
        top_logprobs=_given(sampling, "top_logprobs"),
    )


def _tools(tools: pb.Tools) -> Tools:
    choice: Any = _word(tools, "choice", _CHOICES, "tools")
    if (choice == "named") != bool(tools.name):
        raise _wrong("tools.name", "it goes with TOOL_CHOICE_NAMED, and that with it")
    names = [function.name for function in tools.functions]
    if tools.name and tools.name not in names:
        raise _wrong("tools.name", "no function has this name")
    if len(set(names)) < len(names):
        raise _wrong("tools.functions", "two functions have the same name")
    return Tools(
        functions=tuple(
            Function(
                name=function.name,
                description=function.description,
                parameters_json=function.parameters_json,
                strict=function.strict,
            )
            for function in tools.functions
        ),
        choice=choice,
        name=tools.name or None,
        parallel=not tools.one_at_a_time,
    )


def _format(form: pb.OutputFormat) -> OutputFormat | None:
    match form.WhichOneof("kind"):
        case "json_schema":
            schema = form.json_schema
            return OutputFormat(
                kind="json_schema", name=schema.name, schema_json=schema.schema_json, strict=schema.strict
            )
        case "json_object" if form.json_object:
            return OutputFormat(kind="json_object")
        case _:
            return None


def _rules(rules: pb.Rules) -> Rules:
    if rules.policy and rules.policy not in POLICIES:
        raise _wrong("rules.policy", f"use one of {', '.join(POLICIES)}")
    return Rules(
        policy=rules.policy,
        region=rules.region or None,
        highest_price_micro=_given(rules, "highest_price_micro"),
        lowest_reputation=rules.lowest_reputation,
    )


def _given(message: ProtoMessage, field: str) -> Any:
    return getattr(message, field) if message.HasField(field) else None


def _word(message: ProtoMessage, field: str, words: dict[int, Any], where: str = "") -> Any:
    """What a number of an enumeration stands for; None for 0 where that stands for nothing."""
    number = getattr(message, field)
    if number and number not in words:
        raise _wrong(f"{where}.{field}".lstrip("."), f"{number} stands for nothing in this version")
    return words.get(number)


def _missing(where: str) -> Any:
    raise _wrong(where, "it is missing")


def _wrong(field: str, remedy: str) -> ApiError:
    return ApiError(400, f"The value of {field} cannot be used: {remedy}.", code="invalid_value", param=field)
