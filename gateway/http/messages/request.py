"""``POST /v1/messages``: what Anthropic's API lets a client say, read strictly."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Raw, Struct

from gateway.http.body_reader import BodyReader
from gateway.http.chat.messages import CallId
from gateway.http.chat.request import MaxTokens, StopText
from streams.tasks.tools import MOST_FUNCTIONS, FunctionName

Nothing = Annotated[list[Any], Meta(max_length=0)]
"""A list that may be there as long as nothing is in it."""


class TextBlock(Struct, frozen=True, tag_field="type", tag="text"):
    """A piece of text."""

    text: str


class Base64Source(Struct, frozen=True, tag_field="type", tag="base64"):
    """A picture as it is sent; what it says of its type is not believed."""

    media_type: Annotated[str, Meta(max_length=64)]
    data: str


class UrlSource(Struct, frozen=True, tag_field="type", tag="url"):
    """Where a picture is."""

    url: Annotated[str, Meta(min_length=1)]


class ImageBlock(Struct, frozen=True, tag_field="type", tag="image"):
    """A picture."""

    source: Base64Source | UrlSource

    @property
    def url(self) -> str:
        """Where it is: a ``data:`` URL, where it came along."""
        source = self.source
        return source.url if isinstance(source, UrlSource) else f"data:{source.media_type};base64,{source.data}"


class ToolUseBlock(Struct, frozen=True, tag_field="type", tag="tool_use"):
    """A function that the model has called before."""

    id: CallId
    name: FunctionName
    input: Raw


class ToolResultBlock(Struct, frozen=True, tag_field="type", tag="tool_result"):
    """What came of a call."""

    tool_use_id: CallId
    content: str | list[TextBlock] = ""
    is_error: bool | None = None


Block = TextBlock | ImageBlock | ToolUseBlock | ToolResultBlock


class Turn(Struct, frozen=True):
    """One turn of the conversation."""

    role: Literal["user", "assistant"]
    content: str | Annotated[list[Block], Meta(min_length=1)]


class Tool(Struct, frozen=True):
    """A function that the model may call; Anthropic's own tools are refused by their type."""

    name: FunctionName
    input_schema: Raw
    description: Annotated[str, Meta(max_length=16_384)] | None = None
    type: Literal["custom"] | None = None
    strict: bool | None = None


class ToolChoice(Struct, frozen=True):
    """Whether the model must call one."""

    type: Literal["auto", "any", "tool", "none"]
    name: FunctionName | None = None
    disable_parallel_tool_use: bool | None = None


class SchemaFormat(Struct, frozen=True):
    """JSON under a schema."""

    type: Literal["json_schema"]
    schema: Raw


class OutputConfig(Struct, frozen=True):
    """The form of the answer."""

    format: SchemaFormat | None = None
    effort: None = None


class NoThinking(Struct, frozen=True):
    """``thinking``: no model of the mesh is asked to."""

    type: Literal["disabled"]


class MessagesRequest(Struct, frozen=True, kw_only=True):
    """The request's body. Bounds are Anthropic's; where ours are narrower, ``docs/messages.md`` says so."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    max_tokens: MaxTokens
    messages: Annotated[list[Turn], Meta(min_length=1, max_length=4096)]
    system: str | list[TextBlock] | None = None
    stop_sequences: Annotated[list[StopText], Meta(max_length=4)] | None = None
    stream: bool | None = None
    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    tools: Annotated[list[Tool], Meta(max_length=MOST_FUNCTIONS)] | None = None
    tool_choice: ToolChoice | None = None
    output_config: OutputConfig | None = None
    # What follows cannot be honoured.
    thinking: NoThinking | None = None
    top_k: None = None
    container: None = None
    mcp_servers: Nothing | None = None
    context_management: None = None


UNSUPPORTED_VALUES: Final = frozenset({"thinking", "effort"})
"""Parameters of which one value works."""

UNSUPPORTED: Final = frozenset({"top_k", "container", "mcp_servers", "context_management"})
"""Parameters that do not work at all."""

_body: Final = BodyReader(MessagesRequest, unsupported=UNSUPPORTED, unsupported_values=UNSUPPORTED_VALUES)


def read_messages_request(body: bytes) -> MessagesRequest:
    """Read a request's body.

    Raises:
        ApiError: 400, naming the parameter that is wrong.
    """
    return _body.read(body)
