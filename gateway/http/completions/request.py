"""``POST /v1/completions``: what OpenAI's API lets a client say, read strictly, and the task it becomes."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from gateway.http.body_reader import BodyReader
from gateway.http.chat.request import MaxTokens, Penalty, ServiceTier, StopText, StreamOptions
from gateway.http.chat.tools import LogitBias, biases_of
from gateway.http.errors import ApiError
from streams.events import TaskSubmitted
from streams.tasks.chat import Sampling

USUAL_TOKENS: Final = 16
"""How long an answer is where nothing is said; OpenAI's."""

MOST_CHOICES: Final = 8
"""Answers to one prompt."""

MOST_ANSWERS: Final = 64
"""Answers to one request: each is a task."""


class CompletionRequest(Struct, frozen=True, kw_only=True):
    """The request's body. Bounds are OpenAI's; where ours are narrower, ``docs/completions.md`` says so."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    prompt: str | list[Any]
    max_tokens: MaxTokens | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: StopText | Annotated[list[StopText], Meta(max_length=4)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: LogitBias | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    echo: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    service_tier: ServiceTier | None = None
    n: Annotated[int, Meta(ge=1, le=MOST_CHOICES)] | None = None
    # What follows cannot be honoured.
    best_of: Literal[1] | None = None
    suffix: None = None

    @property
    def include_usage(self) -> bool:
        """Whether the stream ends with a chunk that has the usage."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def prompts(self) -> tuple[str, ...]:
        """The prompts, each of which has choices of its own.

        Raises:
            ApiError: 400, if they are tokens, too many, or one is empty.
        """
        given = [self.prompt] if isinstance(self.prompt, str) else self.prompt
        prompts = tuple([prompt for prompt in given if isinstance(prompt, str)])
        if len(prompts) < len(given):
            message = (
                "Unsupported value: 'prompt' is a text here, or a list of texts, not tokens: "
                "their numbers mean something else to each model."
            )
            raise ApiError(400, message, code="unsupported_value", param="prompt")
        if not 1 <= len(prompts) * (self.n or 1) <= MOST_ANSWERS:
            message = (
                f"Invalid value: 'prompt' is one text or several, and there are 1 to {MOST_ANSWERS} answers in all."
            )
            raise ApiError(400, message, code="invalid_value", param="prompt")
        if not all(prompts):
            message = "Invalid value: 'prompt' is empty. There is nothing to go on with."
            raise ApiError(400, message, code="invalid_value", param="prompt")
        return prompts

    def draft(self) -> TaskSubmitted:
        """The task that its first prompt asks for, without its deadline and rules.

        Raises:
            ApiError: 400, naming the parameter that is wrong.
        """
        stop = self.stop
        sampling = Sampling(
            max_tokens=USUAL_TOKENS if self.max_tokens is None else self.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
            stop=() if stop is None else (stop,) if isinstance(stop, str) else tuple(stop),
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            logit_bias=biases_of(self.logit_bias) if self.logit_bias else (),
            top_logprobs=self.logprobs,
        )
        return TaskSubmitted(model=self.model, prompt=self.prompts[0], sampling=sampling)


UNSUPPORTED_VALUES: Final = frozenset({"best_of"})
"""Parameters of which one value works."""

UNSUPPORTED: Final = frozenset({"suffix"})
"""Parameters that do not work at all."""

_body: Final = BodyReader(CompletionRequest, unsupported=UNSUPPORTED, unsupported_values=UNSUPPORTED_VALUES)


def read_completion_request(body: bytes) -> CompletionRequest:
    """Read a request's body.

    Raises:
        ApiError: 400, naming the parameter that is wrong.
    """
    request = _body.read(body)
    if request.stream_options is not None and not request.stream:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise ApiError(400, message, code="invalid_value", param="stream_options")
    if request.echo and request.logprobs is not None:
        message = (
            "Unsupported value: 'logprobs' beside 'echo'. Nobody here knows how likely the tokens of a prompt are."
        )
        raise ApiError(400, message, code="unsupported_value", param="logprobs")
    return request
