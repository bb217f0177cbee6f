"""The dialect of llama-server's endpoints for chats and raw prompts: what goes in, what comes out chunk by chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from nodes.engines.answer_writer import AnswerWriter
from nodes.engines.conversation import context_exceeded
from nodes.engines.openai_logprobs import Logprobs
from nodes.errors import EngineError, RequestRefused

if TYPE_CHECKING:
    from nodes.engines.lanes import PieceSink
    from nodes.engines.llama.request import LlamaRequest
    from streams.tasks.answer_parts import TokenLogprob
    from streams.tasks.chat import FinishReason

_Number = TypeVar("_Number", int, float)

_RANDOM_SEED: Final = 0xFFFF_FFFF
"""llama.cpp reads this seed as "choose one", so no seed of a user's may become it."""

_CONTEXT_EXCEEDED: Final = "exceed_context_size_error"
_CLIENT_ERRORS: Final = range(400, 500)


class _Turn(Struct, frozen=True, kw_only=True):
    role: str
    content: str


class _StreamOptions(Struct, frozen=True, kw_only=True):
    include_usage: bool = True


class _Body(Struct, frozen=True, kw_only=True):
    """The whole list of what may reach llama.cpp; it has had holes that other JSON parameters open."""

    messages: list[_Turn] | msgspec.UnsetType = msgspec.UNSET
    prompt: str | msgspec.UnsetType = msgspec.UNSET
    max_tokens: int | msgspec.UnsetType
    temperature: float | msgspec.UnsetType
    top_p: float | msgspec.UnsetType
    seed: int | msgspec.UnsetType
    presence_penalty: float | msgspec.UnsetType
    frequency_penalty: float | msgspec.UnsetType
    logit_bias: tuple[tuple[int, float], ...] | msgspec.UnsetType
    logprobs: bool | int | msgspec.UnsetType
    top_logprobs: int | msgspec.UnsetType
    grammar: str | msgspec.UnsetType
    """Of our own making alone (``grammar``): no user's grammar, schema or tool is read by llama.cpp."""
    stream: bool = True
    stream_options: _StreamOptions = _StreamOptions()
    timings_per_token: bool = True
    """Puts the number of tokens so far into each chunk."""
    return_progress: bool = True
    """Sends a chunk after each batch of the prompt: the moments at which a prompt can be cancelled."""
    cache_prompt: bool = False


def chat_body(asked: LlamaRequest) -> bytes:
    """Write the request; a begun answer goes last, llama-server continues it behind its own template."""
    conversation = asked.conversation
    turns = [_Turn(role=turn.role, content=turn.content) for turn in conversation.turns]
    if conversation.begun:
        turns.append(_Turn(role="assistant", content=conversation.begun))
    return msgspec.json.encode(replace(_body(asked), messages=turns))


def completion_body(asked: LlamaRequest) -> bytes:
    """Write the request for a raw prompt; a begun answer is the end of it."""
    body, top = _body(asked), asked.sampling.top_logprobs
    # Here the number of likely tokens stands in the place of whether there are any.
    logprobs = msgspec.UNSET if top is None else max(1, top)
    raw = replace(body, prompt=asked.conversation.raw, logprobs=logprobs, top_logprobs=msgspec.UNSET)
    return msgspec.json.encode(raw)


def _body(asked: LlamaRequest) -> _Body:
    sampling = asked.sampling
    return _Body(
        max_tokens=_given(sampling.max_tokens),
        temperature=_given(sampling.temperature),
        top_p=_given(sampling.top_p),
        seed=msgspec.UNSET if sampling.seed is None else sampling.seed % _RANDOM_SEED,
        presence_penalty=_given(sampling.presence_penalty),
        frequency_penalty=_given(sampling.frequency_penalty),
        logit_bias=tuple((one.token, one.bias) for one in sampling.logit_bias) or msgspec.UNSET,
        logprobs=msgspec.UNSET if sampling.top_logprobs is None else True,
        # With none it gives no logprobs at all.
        top_logprobs=msgspec.UNSET if sampling.top_logprobs is None else max(1, sampling.top_logprobs),
        grammar=msgspec.UNSET if asked.grammar is None else asked.grammar,
    )


class _Delta(Struct, frozen=True):
    content: str | None = None


class _Choice(Struct, frozen=True):
    delta: _Delta = _Delta()
    text: str = ""
    """In the place of ``delta``, behind a raw prompt."""
    finish_reason: str | None = None
    logprobs: Logprobs | None = None

    @property
    def said(self) -> str:
        return self.delta.content or self.text


class _Details(Struct, frozen=True):
    cached_tokens: int | None = None


class _Usage(Struct, frozen=True):
    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: _Details | None = None

    @property
    def cached(self) -> int:
        return 0 if self.prompt_tokens_details is None else self.prompt_tokens_details.cached_tokens or 0


class _Timings(Struct, frozen=True):
    """Counts so far; a character may take several tokens, so chunks are no measure."""

    prompt_n: int = 0
    predicted_n: int = 0


class _Failure(Struct, frozen=True):
    code: int = 500
    message: str = "no reason given"
    type: str = ""
    n_prompt_tokens: int = 0
    n_ctx: int = 0


class _Chunk(Struct, frozen=True):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    timings: _Timings | None = None
    error: _Failure | None = None


class AnswerReader:
    """Turns the chunks of one answer into pieces. `take` is llama-server's callback."""

    def __init__(self, sink: PieceSink, asked: LlamaRequest) -> None:
        self._sink = sink
        self._top = asked.sampling.top_logprobs
        self._writer = AnswerWriter(asked.sampling.stop, asked.conversation.mended, calls=asked.reader())
        self._finish: FinishReason = "stop"
        self._error: EngineError | None = None

    def take(self, chunk: bytes) -> bool:
        """Take one chunk; ``True`` tells the engine to stop.

        Never raises, because nothing can be raised through C++: `check_complete` does it afterwards.
        """
        try:
            self._read(msgspec.json.decode(chunk, type=_Chunk))
        except EngineError as e:
            self._error = e
        except Exception as e:
            self._error = EngineError(f"the engine sent what cannot be read: {e}")
        return self._sink.closed or self._writer.finished or self._error is not None

    def check_complete(self) -> None:
        """Raise what `take` could not.

        Raises:
            RequestRefused: too long for the context, or refused by the template.
            EngineError: the answer broke off.
        """
        if self._error is not None:
            raise self._error
        if not self._writer.finished and not self._sink.closed:
            raise EngineError("the engine ended an answer without a reason")

    def _read(self, chunk: _Chunk) -> None:
        if chunk.error is not None:
            raise _translated(chunk.error)
        if chunk.timings is not None:
            self._writer.prompt_tokens = chunk.timings.prompt_n
        for choice in chunk.choices:
            if choice.said:
                tokens = chunk.timings.predicted_n if chunk.timings else 0
                logprobs = () if choice.logprobs is None else choice.logprobs.read(self._top)
                self._add(choice.said, tokens, logprobs=logprobs)
            if choice.finish_reason == "length":
                self._finish = "length"
        if chunk.usage is not None and not self._writer.finished:
            self._writer.prompt_tokens = chunk.usage.prompt_tokens
            self._writer.cached_prompt_tokens = chunk.usage.cached
            self._add("", chunk.usage.completion_tokens, ends=self._finish)

    def _add(
        self,
        text: str,
        total_tokens: int,
        *,
        ends: FinishReason | None = None,
        logprobs: tuple[TokenLogprob, ...] = (),
    ) -> None:
        new = max(0, total_tokens - self._writer.tokens)
        piece = self._writer.add(text, tokens=new, ends=ends, logprobs=logprobs)
        if piece is not None:
            self._sink.put(piece)


def _given(value: _Number | None) -> _Number | msgspec.UnsetType:
    return msgspec.UNSET if value is None else value


def _translated(failure: _Failure) -> EngineError:
    if failure.type == _CONTEXT_EXCEEDED:
        return context_exceeded(failure.n_prompt_tokens, failure.n_ctx)
    if failure.code in _CLIENT_ERRORS:
        return RequestRefused("invalid_messages", f"the engine refuses this request: {failure.message}")
    return EngineError(f"the engine failed: {failure.message}")
