"""The dialect of llama-server's chat endpoint: what goes in, and what comes out chunk by chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
from msgspec import Struct

from nodes.engine import Piece
from nodes.engines.conversation import context_exceeded
from nodes.errors import EngineError, EngineUnavailable, RequestRefused
from streams.chat import FinishReason, Usage

if TYPE_CHECKING:
    from nodes.engines.conversation import Conversation
    from nodes.engines.lanes import PieceSink
    from streams.chat import Sampling

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

    messages: list[_Turn]
    max_tokens: int | msgspec.UnsetType
    temperature: float | msgspec.UnsetType
    top_p: float | msgspec.UnsetType
    seed: int | msgspec.UnsetType
    presence_penalty: float | msgspec.UnsetType
    frequency_penalty: float | msgspec.UnsetType
    stop: tuple[str, ...]
    stream: bool = True
    stream_options: _StreamOptions = _StreamOptions()
    timings_per_token: bool = True
    """Puts the number of tokens so far into each chunk."""
    return_progress: bool = True
    """Sends a chunk after each batch of the prompt: the moments at which a prompt can be cancelled."""
    cache_prompt: bool = False


def chat_body(conversation: Conversation, sampling: Sampling) -> bytes:
    """Write the request; a begun answer goes last, llama-server continues it behind its own template."""
    turns = [_Turn(role=turn.role, content=turn.content) for turn in conversation.turns]
    if conversation.begun:
        turns.append(_Turn(role="assistant", content=conversation.begun))
    body = _Body(
        messages=turns,
        max_tokens=_given(sampling.max_tokens),
        temperature=_given(sampling.temperature),
        top_p=_given(sampling.top_p),
        seed=msgspec.UNSET if sampling.seed is None else sampling.seed % _RANDOM_SEED,
        presence_penalty=_given(sampling.presence_penalty),
        frequency_penalty=_given(sampling.frequency_penalty),
        stop=sampling.stop,
    )
    return msgspec.json.encode(body)


class _Delta(Struct, frozen=True):
    content: str | None = None


class _Choice(Struct, frozen=True):
    delta: _Delta
    finish_reason: str | None = None


class _PromptDetails(Struct, frozen=True):
    cached_tokens: int = 0


class _Usage(Struct, frozen=True):
    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: _PromptDetails = _PromptDetails()


class _Timings(Struct, frozen=True):
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

    def __init__(self, sink: PieceSink) -> None:
        self._sink = sink
        self._tokens = 0
        self._finish: FinishReason | None = None
        self._complete = False
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
        return self._sink.closed or self._error is not None

    def check_complete(self) -> None:
        """Raise what `take` could not.

        Raises:
            RequestRefused: too long for the context, or refused by the template.
            EngineError: the answer broke off.
        """
        if self._error is not None:
            raise self._error
        if not self._complete and not self._sink.closed:
            raise EngineUnavailable("the engine ended an answer without a reason")

    def _read(self, chunk: _Chunk) -> None:
        if chunk.error is not None:
            raise _translated(chunk.error)
        for choice in chunk.choices:
            if choice.delta.content:
                self._show(choice.delta.content, chunk.timings)
            if choice.finish_reason is not None:
                self._finish = "length" if choice.finish_reason == "length" else "stop"
        if chunk.usage is not None:
            self._end(chunk.usage)

    def _show(self, text: str, timings: _Timings | None) -> None:
        # A character may take several tokens, so the engine's own count is asked instead of counting chunks.
        total = max(timings.predicted_n if timings else 0, self._tokens)
        self._sink.put(Piece(text=text, tokens=total - self._tokens))
        self._tokens = total

    def _end(self, usage: _Usage) -> None:
        total = Usage(
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            cached_prompt_tokens=usage.prompt_tokens_details.cached_tokens,
        )
        rest = usage.completion_tokens - self._tokens
        self._sink.put(Piece(text="", tokens=rest, finish_reason=self._finish or "stop", usage=total))
        self._complete = True


def _given(value: _Number | None) -> _Number | msgspec.UnsetType:
    return msgspec.UNSET if value is None else value


def _translated(failure: _Failure) -> EngineError:
    if failure.type == _CONTEXT_EXCEEDED:
        return context_exceeded(failure.n_prompt_tokens, failure.n_ctx)
    if failure.code in _CLIENT_ERRORS:
        return RequestRefused("invalid_messages", f"the engine refuses this request: {failure.message}")
    return EngineError(f"the engine failed: {failure.message}")
