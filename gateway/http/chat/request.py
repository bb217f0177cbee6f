"""``POST /v1/chat/completions``: what OpenAI's API lets a client say, read strictly, and the task it becomes.

What no engine of this mesh can do is declared with the one value that changes nothing, so the decoder itself refuses
every other by name; what some can is checked against what replicas announce (``gateway.intake.demands``). Unknown
fields are ignored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal, get_args

from msgspec import Meta, Struct

from gateway.http.body_reader import BodyReader
from gateway.http.chat.messages import ChatMessage, Nothing, Role, check_turns, message_of
from gateway.http.chat.tools import LogitBias, ResponseFormat, ToolChoice, ToolList, biases_of, format_of, tools_of
from gateway.http.errors import ApiError
from gateway.http.file_search import request as file_search
from gateway.http.file_search.request import FileSearchTool, search_of
from streams.events import TaskSubmitted
from streams.tasks.chat import Sampling

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.http.file_search.request import Wanted
    from gateway.intake.pictures import Picture

ServiceTier = Literal["auto", "default", "flex", "scale", "priority"]

MaxTokens = Annotated[int, Meta(ge=1, le=1_000_000)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
StopText = Annotated[str, Meta(min_length=1, max_length=256)]
MetadataName = Annotated[str, Meta(max_length=64)]
MetadataText = Annotated[str, Meta(max_length=512)]

NO_PICTURES: Final[Mapping[str, Picture]] = {}


class StreamOptions(Struct, frozen=True):
    """What a stream carries besides the answer."""

    include_usage: bool | None = None


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
    tools: ToolList | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    logit_bias: LogitBias | None = None
    # For the client's own use: checked as OpenAI does, and not looked at.
    metadata: Annotated[dict[MetadataName, MetadataText], Meta(max_length=16)] | None = None
    user: str | None = None
    store: bool | None = None
    n: Annotated[int, Meta(ge=1, le=8)] | None = None
    # What follows cannot be honoured.
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

    @property
    def search(self) -> Wanted | None:
        """What to search before the question is put; None: nothing.

        Raises:
            ApiError: 400, if that makes no sense.
        """
        tools = [tool for tool in self.tools or () if isinstance(tool, FileSearchTool)]
        found = search_of(tools, shows_results=False)
        return None if self.tool_choice == "none" else found

    @property
    def longest_answer(self) -> int | None:
        """How many tokens the answer may have, where it says so."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    def draft(self, pictures: Mapping[str, Picture] = NO_PICTURES) -> TaskSubmitted:
        """The task that this asks for, without its deadline and rules; ``pictures`` are those at its URLs.

        Raises:
            ApiError: 400, if what it says of functions does not fit together.
        """
        return TaskSubmitted(
            model=self.model,
            messages=tuple([message_of(message, pictures) for message in self.messages]),
            sampling=self._sampling(),
            tools=tools_of(self.tools, self.tool_choice, parallel=self.parallel_tool_calls),
            format=format_of(self.response_format),
        )

    def _sampling(self) -> Sampling:
        stop = self.stop
        return Sampling(
            max_tokens=self.longest_answer,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
            stop=() if stop is None else (stop,) if isinstance(stop, str) else tuple(stop),
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            logit_bias=biases_of(self.logit_bias) if self.logit_bias else (),
            top_logprobs=(self.top_logprobs or 0) if self.logprobs else None,
        )


ALLOWED: Final = {
    "role": get_args(Role),
    "service_tier": get_args(ServiceTier),
    "tool_choice": ("none", "auto", "required", "a function to call"),
    "detail": ("auto", "low", "high"),
    **file_search.ALLOWED,
}
"""Choices to name when another was made."""

UNSUPPORTED_VALUES: Final = frozenset({"modalities", "reasoning_effort"})
"""Parameters of which one value works."""

UNSUPPORTED: Final = frozenset({"functions", "function_call", "audio", "prediction", "web_search_options"})
"""Parameters that do not work at all; for the first two OpenAI has ``tools`` and ``tool_choice`` now."""

_body: Final = BodyReader(
    ChatRequest,
    allowed=ALLOWED,
    unsupported=UNSUPPORTED | file_search.UNSUPPORTED,
    unsupported_values=UNSUPPORTED_VALUES,
)


def read_chat_request(body: bytes) -> ChatRequest:
    """Read a request's body.

    Raises:
        ApiError: 400, naming the parameter that is wrong.
    """
    request = _body.read(body)
    if request.top_logprobs and not request.logprobs:
        message = "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled."
        raise ApiError(400, message, code="invalid_value", param="top_logprobs")
    if request.stream_options is not None and not request.stream:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise ApiError(400, message, code="invalid_value", param="stream_options")
    check_turns(request.messages)
    return request
