"""``POST /v1/responses``: what OpenAI's API lets a client say, read strictly."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from gateway.http.chat_request import MaxTokens, ServiceTier
from gateway.http.errors import ApiError
from gateway.http.invalid_body import explain
from streams.response_terms import MOST_METADATA, MetadataName, MetadataText

Role = Literal["system", "developer", "user", "assistant"]
Nothing = Annotated[list[Any], Meta(max_length=0)]
"""A list that may be there as long as nothing is in it."""


class ContentPart(Struct, frozen=True):
    """A piece of a message's text; other kinds of part are refused by their type."""

    type: Literal["input_text", "output_text"]
    text: str


class InputItem(Struct, frozen=True):
    """One turn of the input; what is no message is refused by its type."""

    role: Role
    content: str | list[ContentPart]
    type: Literal["message"] = "message"


class PlainFormat(Struct, frozen=True):
    """Plain text."""

    type: Literal["text"]


class TextConfig(Struct, frozen=True):
    """``text``."""

    format: PlainFormat | None = None
    verbosity: Literal["medium"] | None = None


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
    # What follows cannot be honoured.
    text: TextConfig | None = None
    truncation: Literal["disabled"] | None = None
    reasoning: Reasoning | None = None
    tools: Nothing | None = None
    tool_choice: Literal["none", "auto"] | None = None
    include: Nothing | None = None
    top_logprobs: Literal[0] | None = None
    conversation: None = None
    prompt: None = None
    context_management: None = None


ALLOWED: Final = {"role": get_args(Role), "service_tier": get_args(ServiceTier)}
"""Choices to name when another was made."""

UNSUPPORTED_VALUES: Final = frozenset({"text", "truncation", "reasoning", "include"})
"""Parameters of which some values work."""

UNSUPPORTED: Final = frozenset(
    {*("tools", "tool_choice", "top_logprobs"), *("conversation", "prompt", "context_management")}
)
"""Parameters that do not work at all."""

_decode: Final = msgspec.json.Decoder(ResponseRequest).decode


def read_response_request(body: bytes) -> ResponseRequest:
    """Read a request's body.

    Raises:
        ApiError: 400, naming the parameter that is wrong.
    """
    try:
        request = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise explain(error, allowed=ALLOWED, unsupported=UNSUPPORTED, unsupported_values=UNSUPPORTED_VALUES) from error
    if request.background and request.store is False:
        message = "A response in the background has to be stored: who else could read it? Leave 'store' out."
        raise ApiError(400, message, code="invalid_value", param="store")
    return request
