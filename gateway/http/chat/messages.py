"""The turns of a conversation as OpenAI's chat API has them, and the messages of a task that they become."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.http.errors import ApiError
from streams.tasks import chat
from streams.tasks.tools import FunctionName

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.intake.pictures import Picture

Role = Literal["system", "developer", "user", "assistant", "tool"]
"""Who may speak; ``function``, the older name for ``tool``, is refused."""

CallId = Annotated[str, Meta(min_length=1, max_length=64)]
Nothing = Annotated[list[Any], Meta(max_length=0)]
"""A list that may be there as long as nothing is in it."""


class TextPart(Struct, frozen=True, tag_field="type", tag="text"):
    """A piece of a message's text."""

    text: str


class RefusalPart(Struct, frozen=True, tag_field="type", tag="refusal"):
    """What an assistant has said instead of an answer."""

    refusal: str


class ImageUrl(Struct, frozen=True):
    """Where a picture is: a ``data:`` URL that holds it, or one to fetch it from."""

    url: Annotated[str, Meta(min_length=1)]
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(Struct, frozen=True, tag_field="type", tag="image_url"):
    """A picture in a message."""

    image_url: ImageUrl


Part = TextPart | ImagePart | RefusalPart


class CalledFunction(Struct, frozen=True):
    """What a call has called."""

    name: FunctionName
    arguments: str


class CalledTool(Struct, frozen=True):
    """A call that an assistant has made."""

    id: CallId
    type: Literal["function"]
    function: CalledFunction


class ChatMessage(Struct, frozen=True):
    """One turn; its content is text or parts, or nothing where an assistant has only called functions."""

    role: Role
    content: str | list[Part] | UnsetType | None = UNSET
    name: Annotated[str, Meta(max_length=64)] | None = None
    tool_calls: Annotated[list[CalledTool], Meta(max_length=128)] | None = None
    tool_call_id: CallId | None = None
    refusal: str | None = None
    function_call: None = None
    audio: None = None


def check_turns(messages: Sequence[ChatMessage]) -> None:
    """Return if each turn has what its role needs, and nothing that only others may have.

    Raises:
        ApiError: 400, naming the field.
    """
    for index, message in enumerate(messages):
        if not isinstance(message.content, str) or message.role in ("assistant", "tool") or message.tool_calls:
            _check_turn(message, f"messages[{index}]")


def _check_turn(message: ChatMessage, place: str) -> None:
    may_be_silent = message.role == "assistant" and (message.tool_calls or message.refusal)
    if not may_be_silent:
        _need_content(message.content, f"{place}.content")
    if message.role == "tool" and message.tool_call_id is None:
        raise _missing(f"{place}.tool_call_id")
    if isinstance(message.content, list):
        for at, part in enumerate(message.content):
            wrong_place = f"{place}.content[{at}].type"
            if isinstance(part, ImagePart) and message.role != "user":
                raise _not_there(wrong_place, f"a turn of the role {message.role} has no pictures")
            if isinstance(part, RefusalPart) and message.role != "assistant":
                raise _not_there(wrong_place, "only an assistant refuses")


def _need_content(content: object, place: str) -> None:
    if content is UNSET:
        raise _missing(place)
    if content is None:
        message = f"Invalid type for '{place}': expected a string or an array, but got null instead."
        raise ApiError(400, message, code="invalid_type", param=place)


def _missing(place: str) -> ApiError:
    message = f"Missing required parameter: '{place}'."
    return ApiError(400, message, code="missing_required_parameter", param=place)


def _not_there(place: str, why: str) -> ApiError:
    return ApiError(400, f"Invalid value for '{place}': {why}.", code="invalid_value", param=place)


def picture_urls(messages: Sequence[ChatMessage]) -> Iterator[tuple[str, str]]:
    """Yield the URL of each picture, with the name of the parameter that it stands in."""
    for index, message in enumerate(messages):
        if isinstance(message.content, list):
            for at, part in enumerate(message.content):
                if isinstance(part, ImagePart):
                    yield part.image_url.url, f"messages[{index}].content[{at}].image_url.url"


def message_of(message: ChatMessage, pictures: Mapping[str, Picture]) -> chat.Message:
    """The message of a task; ``pictures`` has those of its URLs that are there already."""
    content = message.content
    if isinstance(content, str) and not message.tool_calls and message.tool_call_id is None:
        return chat.Message(role=message.role, content=content, name=message.name)
    parts = [_part(part, pictures) for part in content] if isinstance(content, list) else []
    texts = [part.text for part in parts if isinstance(part, chat.TextPart)]
    return chat.Message(
        role=message.role,
        content=content if isinstance(content, str) else "".join(texts) or message.refusal or "",
        name=message.name,
        parts=tuple(parts) if len(texts) < len(parts) else (),
        tool_calls=tuple(
            chat.ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments)
            for call in message.tool_calls or ()
        ),
        tool_call_id=message.tool_call_id if message.role == "tool" else None,
    )


def _part(part: Part, pictures: Mapping[str, Picture]) -> chat.TextPart | chat.ImagePart:
    if isinstance(part, TextPart):
        return chat.TextPart(text=part.text)
    if isinstance(part, RefusalPart):
        return chat.TextPart(text=part.refusal)
    picture = pictures.get(part.image_url.url)
    return chat.ImagePart(
        media_type="" if picture is None else picture.media_type,
        # What is not there yet is told from another by where it is.
        data=part.image_url.url.encode("utf-8", "replace") if picture is None else picture.data,
        detail=part.image_url.detail or "auto",
    )
