"""``POST /v1/responses``: what OpenAI's API lets a client say, read strictly."""

from __future__ import annotations

from typing import Annotated, Final, Literal, get_args

from msgspec import Meta, Raw, Struct, field

from gateway.http.body_reader import BodyReader
from gateway.http.chat.messages import CallId
from gateway.http.chat.request import MaxTokens, ServiceTier
from gateway.http.chat.tools import ObjectFormat, TextFormat
from gateway.http.errors import ApiError
from gateway.http.file_search import request as file_search
from gateway.http.file_search.request import FileSearchTool
from streams.tasks.response_terms import MOST_METADATA, MetadataName, MetadataText
from streams.tasks.tools import MOST_FUNCTIONS, FunctionName

Role = Literal["system", "developer", "user", "assistant"]


class InputText(Struct, frozen=True, tag_field="type", tag="input_text"):
    """A piece of a message's text."""

    text: str


class OutputText(Struct, frozen=True, tag_field="type", tag="output_text"):
    """A piece of what the model has said before."""

    text: str


class InputImage(Struct, frozen=True, tag_field="type", tag="input_image"):
    """A picture in a message: a ``data:`` URL that holds it, or one to fetch it from."""

    image_url: Annotated[str, Meta(min_length=1)]
    detail: Literal["auto", "low", "high"] | None = None


Part = InputText | OutputText | InputImage


class InputItem(Struct, frozen=True):
    """One turn of the input, a call that the model has made, or what came of one; others are refused by their type.

    A ``file_search_call``, as a client may send it back with the rest of an answer, says nothing to the model.
    """

    type: Literal["message", "function_call", "function_call_output", "file_search_call"] = "message"
    role: Role | None = None
    content: str | list[Part] | None = None
    call_id: CallId | None = None
    name: FunctionName | None = None
    arguments: str | None = None
    output: str | list[Part] | None = None


class SchemaFormat(Struct, frozen=True, tag_field="type", tag="json_schema"):
    """JSON under a schema."""

    name: FunctionName
    description: str | None = None
    schema: Raw = field(default_factory=Raw)
    strict: bool | None = None


class TextConfig(Struct, frozen=True):
    """``text``."""

    format: TextFormat | ObjectFormat | SchemaFormat | None = None
    verbosity: Literal["medium"] | None = None


class FunctionTool(Struct, frozen=True, tag_field="type", tag="function"):
    """``tools[]``; of OpenAI's hosted tools there is ``file_search``, others are refused by their type."""

    name: FunctionName
    description: Annotated[str, Meta(max_length=16_384)] | None = None
    parameters: Raw = field(default_factory=Raw)
    strict: bool | None = None


class NamedChoice(Struct, frozen=True, tag_field="type", tag="function"):
    """``tool_choice`` that names the one function to call."""

    name: FunctionName


class SearchChoice(Struct, frozen=True, tag_field="type", tag="file_search"):
    """``tool_choice`` that wants files searched, which is done anyhow."""


class Reasoning(Struct, frozen=True):
    """``reasoning``: no model of the mesh is asked for some."""

    effort: Literal["none"] | None = None
    summary: None = None


class ResponseRequest(Struct, frozen=True, kw_only=True):
    """The request's body. Bounds are OpenAI's; where ours are narrower, ``docs/responses.md`` says so."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    input: str | Annotated[list[InputItem], Meta(min_length=1, max_length=4096)]
    instructions: str | None = None
    previous_response_id: Annotated[str, Meta(max_length=128)] | None = None
    background: bool | None = None
    store: bool | None = None
    stream: bool | None = None
    max_output_tokens: MaxTokens | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    metadata: Annotated[dict[MetadataName, MetadataText], Meta(max_length=MOST_METADATA)] | None = None
    service_tier: ServiceTier | None = None
    text: TextConfig | None = None
    tools: Annotated[list[FunctionTool | FileSearchTool], Meta(max_length=MOST_FUNCTIONS)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedChoice | SearchChoice | None = None
    include: list[Literal["file_search_call.results"]] | None = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    # What follows cannot be honoured.
    truncation: Literal["disabled"] | None = None
    reasoning: Reasoning | None = None
    top_logprobs: Literal[0] | None = None
    conversation: None = None
    prompt: None = None
    context_management: None = None


ALLOWED: Final = {"role": get_args(Role), "service_tier": get_args(ServiceTier), **file_search.ALLOWED}
"""Choices to name when another was made."""

UNSUPPORTED_VALUES: Final = frozenset({"verbosity", "truncation", "reasoning", "include"})
"""Parameters of which some values work."""

UNSUPPORTED: Final = frozenset({"top_logprobs", "conversation", "prompt", "context_management"})
"""Parameters that do not work at all."""

_body: Final = BodyReader(
    ResponseRequest,
    allowed=ALLOWED,
    unsupported=UNSUPPORTED | file_search.UNSUPPORTED,
    unsupported_values=UNSUPPORTED_VALUES,
)


def read_response_request(body: bytes) -> ResponseRequest:
    """Read a request's body.

    Raises:
        ApiError: 400, naming the parameter that is wrong.
    """
    request = _body.read(body)
    if request.background and request.store is False:
        message = "A response in the background has to be stored: who else could read it? Leave 'store' out."
        raise ApiError(400, message, code="invalid_value", param="store")
    return request
