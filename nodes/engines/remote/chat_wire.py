"""OpenAI's completions of chats and of raw prompts as they travel: the request, what some servers add, the chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType, field
from msgspec.structs import replace

from nodes.engines.openai_logprobs import Logprobs
from nodes.engines.remote.chat_demands import Choice, Format, Tool, Turn, choice_of, format_of, tools_of, turn_of
from nodes.engines.remote.failures import Failure
from nodes.engines.remote.wire_calls import WireCall

if TYPE_CHECKING:
    from nodes.engine import Generate
    from nodes.engines.conversation import Conversation

_Number = TypeVar("_Number", int, float)

_SEEDS: Final = 0x7FFF_FFFF
"""Seeds that every server takes; llama.cpp reads the largest of 32 bit as "choose one"."""

Family = Literal["llama.cpp", "vllm", "other"]
"""Which additions to OpenAI's request a server knows."""

Counting = Literal["running", "final", "none"]
"""How a server counts tokens: so far in each chunk, in the last one, or not at all."""

Continuing = Literal["trailing", "flags", "continue_", "no"]
"""How a server goes on from a text: a last message of the assistant's alone, with the flags of vLLM and SGLang, with
the one of text-generation-webui, or not."""


class Dialect(Struct, frozen=True, kw_only=True):
    """How one server wants to be asked, as was found out by asking it."""

    family: Family = "other"
    counting: Counting = "final"
    continuing: Continuing = "no"
    asks_usage: bool = True
    """Whether it takes ``stream_options``; some servers count without being asked."""
    new_limit: bool = False
    """Whether ``max_tokens`` is refused and ``max_completion_tokens`` taken instead."""

    @property
    def stops_itself(self) -> bool:
        """Whether it is told the stop strings: it must end by itself where only its last chunk has the counts."""
        return self.counting != "running"


class _StreamOptions(Struct, frozen=True, kw_only=True, omit_defaults=True):
    include_usage: bool | UnsetType = UNSET
    continuous_usage_stats: bool | UnsetType = UNSET


class _Body(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The whole list of what may reach a server; llama.cpp has had holes that other JSON parameters open."""

    model: str
    messages: list[Turn] | UnsetType = UNSET
    prompt: str | UnsetType = UNSET
    stream: bool | UnsetType = UNSET
    stream_options: _StreamOptions | UnsetType = UNSET
    max_tokens: int | UnsetType = UNSET
    max_completion_tokens: int | UnsetType = UNSET
    temperature: float | UnsetType = UNSET
    top_p: float | UnsetType = UNSET
    seed: int | UnsetType = UNSET
    stop: tuple[str, ...] | UnsetType = UNSET
    presence_penalty: float | UnsetType = UNSET
    frequency_penalty: float | UnsetType = UNSET
    logit_bias: dict[str, float] | UnsetType = UNSET
    logprobs: bool | int | UnsetType = UNSET
    top_logprobs: int | UnsetType = UNSET
    tools: list[Tool] | UnsetType = UNSET
    tool_choice: str | Choice | UnsetType = UNSET
    parallel_tool_calls: bool | UnsetType = UNSET
    response_format: Format | UnsetType = UNSET
    continue_final_message: bool | UnsetType = UNSET
    add_generation_prompt: bool | UnsetType = UNSET
    continue_: bool | UnsetType = UNSET
    # llama-server's: counts in each chunk, moments at which a prompt can be cancelled, nothing kept for the next one.
    timings_per_token: bool | UnsetType = UNSET
    return_progress: bool | UnsetType = UNSET
    cache_prompt: bool | UnsetType = UNSET


def chat_body(model: str, conversation: Conversation, request: Generate, dialect: Dialect) -> bytes:
    """Write the request; a begun answer goes last.

    Raises:
        RequestRefused: ``unsupported_schema``: one of its schemas is no JSON object.
    """
    tools, output_format = request.tools, request.format
    turns = [turn_of(turn) for turn in conversation.turns]
    begun = bool(conversation.begun)
    if begun:
        turns.append(Turn(role="assistant", content=conversation.begun))
    limit, top = _given(request.sampling.max_tokens), request.sampling.top_logprobs
    body = replace(
        _body(model, request, dialect),
        messages=turns,
        max_tokens=UNSET if dialect.new_limit else limit,
        max_completion_tokens=limit if dialect.new_limit else UNSET,
        logprobs=UNSET if top is None else True,
        # Some servers give none at all where no likely tokens are asked for.
        top_logprobs=UNSET if top is None else max(1, top),
        tools=UNSET if tools is None else tools_of(tools),
        tool_choice=UNSET if tools is None else choice_of(tools),
        parallel_tool_calls=UNSET if tools is None or tools.parallel else False,
        response_format=UNSET if output_format is None else format_of(output_format),
        continue_final_message=(begun and dialect.continuing == "flags") or UNSET,
        add_generation_prompt=False if begun and dialect.continuing == "flags" else UNSET,
        continue_=(begun and dialect.continuing == "continue_") or UNSET,
    )
    return msgspec.json.encode(body)


def raw_body(model: str, conversation: Conversation, request: Generate, dialect: Dialect) -> bytes:
    """Write the request for a raw prompt; a begun answer is the end of it."""
    top = request.sampling.top_logprobs
    body = replace(
        _body(model, request, dialect),
        prompt=conversation.raw,
        max_tokens=_given(request.sampling.max_tokens),
        logprobs=UNSET if top is None else max(1, top),
    )
    return msgspec.json.encode(body)


def _body(model: str, request: Generate, dialect: Dialect) -> _Body:
    """What both kinds of request say alike."""
    sampling, is_llama = request.sampling, dialect.family == "llama.cpp"
    return _Body(
        model=model,
        stream=True,
        stream_options=_stream_options(dialect),
        temperature=_given(sampling.temperature),
        top_p=_given(sampling.top_p),
        seed=UNSET if sampling.seed is None else sampling.seed % _SEEDS,
        stop=sampling.stop if sampling.stop and dialect.stops_itself else UNSET,
        presence_penalty=_given(sampling.presence_penalty),
        frequency_penalty=_given(sampling.frequency_penalty),
        logit_bias={str(one.token): one.bias for one in sampling.logit_bias} or UNSET,
        timings_per_token=is_llama or UNSET,
        return_progress=is_llama or UNSET,
        cache_prompt=False if is_llama else UNSET,
    )


def _stream_options(dialect: Dialect) -> _StreamOptions | UnsetType:
    if not dialect.asks_usage:
        return UNSET
    return _StreamOptions(include_usage=True, continuous_usage_stats=dialect.family == "vllm" or UNSET)


def _given(value: _Number | None) -> _Number | UnsetType:
    return UNSET if value is None else value


class _Said(Struct, frozen=True):
    content: str | None = None
    tool_calls: list[WireCall] | None = None


class _Choice(Struct, frozen=True):
    delta: _Said | None = None
    message: _Said | None = None
    """Where a server does not stream: the whole answer."""
    behind: str | None = field(name="text", default=None)
    """What comes behind a raw prompt."""
    finish_reason: str | None = None
    logprobs: Logprobs | None = None

    @property
    def calls(self) -> list[WireCall]:
        said = self.delta or self.message
        return [] if said is None else said.tool_calls or []

    @property
    def text(self) -> str:
        said = self.delta or self.message
        return (self.behind if said is None else said.content) or ""


class _Details(Struct, frozen=True):
    cached_tokens: int | None = None


class WireUsage(Struct, frozen=True):
    """Tokens as the server counts them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None

    @property
    def cached(self) -> int:
        """Those of the prompt that it had read before."""
        return 0 if self.prompt_tokens_details is None else self.prompt_tokens_details.cached_tokens or 0


class _Timings(Struct, frozen=True):
    """llama-server's counts so far; a character may take several tokens, so chunks are no measure."""

    prompt_n: int = 0
    """Tokens of the prompt that it has read for this answer; those that it had read before come on top."""
    predicted_n: int = 0
    cache_n: int = 0


class Chunk(Struct, frozen=True):
    """One step of an answer, or all of it."""

    choices: list[_Choice] = []
    usage: WireUsage | None = None
    timings: _Timings | None = None
    error: Failure | str | None = None

    @property
    def counted(self) -> tuple[int, int] | None:
        """Tokens of the prompt and of the answer so far, where it says."""
        if self.usage is not None and self.usage.completion_tokens is not None:
            return self.usage.prompt_tokens or 0, self.usage.completion_tokens
        if self.timings is not None:
            return self.timings.prompt_n + self.timings.cache_n, self.timings.predicted_n
        return None

    @property
    def cached(self) -> int:
        """Tokens of the prompt that it had read before, where it says."""
        if self.usage is not None:
            return self.usage.cached
        return 0 if self.timings is None else self.timings.cache_n


def chunk(
    *,
    text: str,
    finish_reason: str | None,
    tokens: tuple[int, int] | None,
    cached: int = 0,
    calls: list[WireCall] | None = None,
    logprobs: Logprobs | None = None,
) -> Chunk:
    """Make one of what another library has read; ``tokens`` are those of the prompt and of the answer."""
    usage = None
    if tokens is not None:
        details = _Details(cached_tokens=cached)
        usage = WireUsage(prompt_tokens=tokens[0], completion_tokens=tokens[1], prompt_tokens_details=details)
    said = _Said(content=text, tool_calls=calls)
    return Chunk(choices=[_Choice(delta=said, finish_reason=finish_reason, logprobs=logprobs)], usage=usage)
