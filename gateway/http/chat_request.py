"""``POST /v1/chat/completions``: what OpenAI's API lets a client say, read strictly, and the task it becomes.

Fields that the engines cannot honour yet are declared with the one value that changes nothing, so the decoder itself
refuses every other by name, and a request that uses none of them pays nothing. Unknown fields are ignored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from gateway.http.errors import ApiError
from gateway.http.invalid_body import explain
from gateway.limits.price import price_of_messages
from streams.chat import Message, Sampling
from streams.events import TaskSubmitted

if TYPE_CHECKING:
    from gateway.limits.ticket import Price
    from streams.placing import Rules

Role = Literal["system", "developer", "user", "assistant"]
"""Who may speak; ``tool`` waits for engines that call tools."""

ServiceTier = Literal["auto", "default", "flex", "scale", "priority"]

MaxTokens = Annotated[int, Meta(ge=1, le=1_000_000)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
StopText = Annotated[str, Meta(min_length=1, max_length=256)]
Nothing = Annotated[list[Any], Meta(max_length=0)]
"""A list that may be there as long as nothing is in it."""


class TextPart(Struct, frozen=True):
    """A piece of a message's text; other kinds of part are refused by their type."""

    type: Literal["text"]
    text: str


class ChatMessage(Struct, frozen=True):
    """One turn; its content is text, whole or in parts."""

    role: Role
    content: str | list[TextPart]
    name: Annotated[str, Meta(max_length=64)] | None = None
    tool_calls: Nothing | None = None
    function_call: None = None
    audio: None = None


class StreamOptions(Struct, frozen=True):
    """What a stream carries besides the answer."""

    include_usage: bool | None = None


class TextFormat(Struct, frozen=True):
    """``response_format``: plain text."""

    type: Literal["text"]


class ChatRequest(Struct, frozen=True, kw_only=True):
    """The request's body. Bounds are OpenAI's; where ours are narrower, ``docs/http.md`` says so."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    messages: Annotated[list[ChatMessage], Meta(min_length=1, max_length=4096)]
    max_tokens: MaxTokens | None = None
    max_completion_tokens: MaxTokens | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: StopText | Annotated[list[StopText], Meta(max_length=4)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    service_tier: ServiceTier | None = None
    # What follows cannot be honoured yet.
    n: Literal[1] | None = None
    logprobs: bool | None = None
    top_logprobs: Literal[0] | None = None
    logit_bias: Annotated[dict[str, float], Meta(max_length=0)] | None = None
    response_format: TextFormat | None = None
    tools: Nothing | None = None
    tool_choice: Literal["none", "auto"] | None = None
    functions: Nothing | None = None
    function_call: Literal["none", "auto"] | None = None
    modalities: list[Literal["text"]] | None = None
    audio: None = None
    prediction: None = None
    reasoning_effort: Literal["none"] | None = None
    web_search_options: None = None

    @property
    def include_usage(self) -> bool:
        """Whether the stream ends with a chunk that has the usage."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    def submission(self, deadline_at_ms: int, rules: Rules | None = None) -> TaskSubmitted:
        """The task that this asks for."""
        return TaskSubmitted(
            model=self.model,
            messages=tuple([_message(message) for message in self.messages]),
            sampling=self._sampling(),
            deadline_at_ms=deadline_at_ms,
            rules=rules,
        )

    def _sampling(self) -> Sampling:
        stop = self.stop
        return Sampling(
            max_tokens=self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
            stop=() if stop is None else (stop,) if isinstance(stop, str) else tuple(stop),
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
        )


ALLOWED: Final = {"role": get_args(Role), "service_tier": get_args(ServiceTier)}
"""Choices to name when another was made."""

UNSUPPORTED_VALUES: Final = frozenset({"n", "modalities", "response_format", "reasoning_effort"})
"""Parameters of which one value works."""

UNSUPPORTED: Final = frozenset(
    {
        *("logprobs", "top_logprobs", "logit_bias", "tools", "tool_choice", "functions", "function_call"),
        *("tool_calls", "audio", "prediction", "web_search_options"),
    }
)
"""Parameters that do not work at all yet."""

_decode: Final = msgspec.json.Decoder(ChatRequest).decode


def read_chat_request(body: bytes) -> ChatRequest:
    """Read a request's body.

    Raises:
        ApiError: 400, naming the parameter that is wrong.
    """
    try:
        request = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise explain(error, allowed=ALLOWED, unsupported=UNSUPPORTED, unsupported_values=UNSUPPORTED_VALUES) from error
    if request.logprobs:
        message = "Unsupported parameter: 'logprobs'. This mesh's engines do not give log probabilities yet."
        raise ApiError(400, message, code="unsupported_parameter", param="logprobs")
    if request.stream_options is not None and not request.stream:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise ApiError(400, message, code="invalid_value", param="stream_options")
    return request


def price_of(request: ChatRequest, *, answer_tokens: int) -> Price:
    """What a request may use: its prompt, guessed from its length, and the longest answer that it allows."""
    sizes = [_bytes_of(message.content) for message in request.messages]
    wanted = request.max_tokens if request.max_completion_tokens is None else request.max_completion_tokens
    return price_of_messages(sizes, answer_tokens if wanted is None else wanted)


def _bytes_of(content: str | list[TextPart]) -> int:
    if isinstance(content, str):
        return len(content.encode("utf-8", "replace"))
    return sum(len(part.text.encode("utf-8", "replace")) for part in content)


def _message(message: ChatMessage) -> Message:
    content = message.content
    if not isinstance(content, str):
        content = "".join([part.text for part in content])
    return Message(role=message.role, content=content, name=message.name)
