"""One answer of a chat endpoint: its chunks become pieces, and what cannot be true of its counts is put right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from nodes.engines.answer_writer import AnswerWriter
from nodes.engines.remote.chat_wire import Chunk
from nodes.engines.remote.failures import Failure, error_of
from nodes.engines.remote.http_server import whole_body
from nodes.engines.remote.sse import data_lines
from nodes.engines.remote.wire_calls import CallNumbers
from nodes.errors import EngineBusy, EngineError, RequestRefused
from streams.tasks.chat import Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable

    from aiohttp import ClientResponse

    from nodes.engine import Piece
    from nodes.engines.conversation import Conversation
    from nodes.engines.remote.api_key import ApiKey
    from nodes.engines.remote.chat_wire import Counting
    from streams.tasks.answer_parts import TokenLogprob, ToolCallPiece
    from streams.tasks.chat import FinishReason, Sampling

_DONE: Final = b"[DONE]"
_SILENT_TOKENS: Final = 32
"""Tokens that may give no text. A token stands for a byte at least: a mesh believes no count beyond that."""
_CHARS_PER_TOKEN: Final = 4
"""Where a server counts nothing, so long is a token of a prompt taken to be."""
_CALL_TOKENS: Final = 32
"""What a model writes around a call, which nobody is shown."""
_TEMPLATE_TOKENS: Final = 512
_TURN_TOKENS: Final = 16
_LONGEST_ANSWER: Final = 8 << 20
"""Bytes after which a server that never ends is left."""
_PATIENT_CHUNKS: Final = 16
"""How far a server may run on behind a stop string before its last chunk is no longer waited for."""
_SERVER_FAULT: Final = 500


class Said(NamedTuple):
    """What a chunk adds."""

    text: str
    calls: tuple[ToolCallPiece, ...]
    logprobs: tuple[TokenLogprob, ...]

    @property
    def bytes(self) -> int:
        """How long it is."""
        called = (f"{call.name or ''}{call.arguments}" for call in self.calls)
        return sum(len(text.encode()) for text in (self.text, *called))


class ChatAnswer:
    """Reads one answer."""

    def __init__(
        self,
        conversation: Conversation,
        sampling: Sampling,
        counting: Counting,
        key: ApiKey,
        *,
        demanded_bytes: int = 0,
    ) -> None:
        """Read an answer to ``conversation``; ``demanded_bytes`` is what of the prompt may come of other demands."""
        self._writer = AnswerWriter(sampling.stop, conversation.mended)
        self._most = sampling.max_tokens
        self._counting = counting
        self._key = key
        self._prompt_bytes = sum(len(turn.content.encode()) for turn in conversation.turns)
        self._prompt_bytes += len(conversation.raw.encode())
        self._turns = len(conversation.turns) + 1
        self._prompt_bytes += demanded_bytes
        self._top = sampling.top_logprobs
        self._calls = CallNumbers()
        self._answer_bytes = 0
        self._finish: FinishReason | None = None
        self._counts: tuple[int, int] | None = None
        self._cached_tokens = 0
        self._stopped: Piece | None = None
        self._after_stop = 0
        self.tells_running = False
        """Whether it has counted before the end."""

    @property
    def tells_usage(self) -> bool:
        """Whether the server has counted."""
        return self._counts is not None

    async def pieces(self, chunks: AsyncIterable[Chunk]) -> AsyncGenerator[Piece, None]:
        """Yield them while chunks come; the last one has the usage.

        Raises:
            EngineError: the server says that it failed, or ends without a reason, or without the counts it promises.
        """
        async for chunk in chunks:
            piece = self._take(chunk)
            if piece is not None:
                yield piece
                if piece.finish_reason is not None:
                    return
        yield self._end()

    def _take(self, chunk: Chunk) -> Piece | None:
        if chunk.error is not None:
            raise self._failed(chunk.error)
        if chunk.counted is not None:
            self._counts = chunk.counted
            self._cached_tokens = max(0, chunk.cached)
        text = "".join(choice.text for choice in chunk.choices)
        calls = self._calls.read(call for choice in chunk.choices for call in choice.calls)
        logprobs = tuple(
            place for choice in chunk.choices if choice.logprobs for place in choice.logprobs.read(self._top)
        )
        for choice in chunk.choices:
            if choice.finish_reason:
                self._finish = "length" if choice.finish_reason == "length" else "stop"
        if self._finish == "stop" and self._calls.count:
            # Some servers say so only where the model was free to call.
            self._finish = "tool_calls"
        if self._stopped is not None:
            self._after_stop += 1
            return self._end() if self._after_stop > _PATIENT_CHUNKS else None
        if not text and not calls:
            return None
        self.tells_running = self.tells_running or (chunk.counted is not None and self._finish is None)
        return self._add(Said(text, calls, logprobs), None if chunk.counted is None else chunk.counted[1])

    def _add(self, said: Said, counted: int | None) -> Piece | None:
        self._answer_bytes += said.bytes
        if self._answer_bytes > _LONGEST_ANSWER:
            raise EngineError(f"the server's answer has no end: {_LONGEST_ANSWER >> 20} MiB came")
        total = self._believed(self._writer.tokens + 1 if counted is None else counted)
        self._note_prompt()
        new = max(0, total - self._writer.tokens)
        piece = self._writer.add(said.text, tokens=new, calls=said.calls, logprobs=said.logprobs)
        if piece is None or piece.finish_reason is None or self._counting == "running":
            return piece
        # A stop string. The server knows them too: it ends now, and tells what this has cost.
        self._stopped = piece
        return None

    def _end(self) -> Piece:
        """Make the last piece, when the server has ended its answer."""
        if self._finish is None and self._stopped is None:
            raise EngineError("the server ended an answer without a reason: it was cut off")
        if self._counts is None and self._counting != "none" and not self._after_stop:
            raise EngineError("the server ended an answer without saying how many tokens it has")
        before = self._writer.tokens
        total = before if self._counts is None else max(before, self._believed(self._counts[1]))
        if self._stopped is not None:
            prompt = self._prompt_tokens()
            usage = Usage(
                prompt_tokens=prompt, completion_tokens=total, cached_prompt_tokens=min(self._cached_tokens, prompt)
            )
            return replace(self._stopped, tokens=self._stopped.tokens + total - before, usage=usage)
        self._note_prompt()
        return self._writer.end(self._finish or "stop", tokens=total - before)

    def _note_prompt(self) -> None:
        self._writer.knows_prompt = self._counts is not None and self._counts[0] > 0
        self._writer.prompt_tokens = self._prompt_tokens()
        self._writer.cached_prompt_tokens = self._cached_tokens

    def _believed(self, tokens: int) -> int:
        most = self._answer_bytes + _SILENT_TOKENS + _CALL_TOKENS * self._calls.count
        return min(tokens, most if self._most is None else min(most, self._most))

    def _prompt_tokens(self) -> int:
        if self._counts is None or self._counts[0] <= 0:
            return max(1, self._prompt_bytes // _CHARS_PER_TOKEN)
        return min(self._counts[0], self._prompt_bytes + self._turns * _TURN_TOKENS + _TEMPLATE_TOKENS)

    def _failed(self, error: Failure | str) -> EngineError:
        failure = error if isinstance(error, Failure) else Failure(message=error)
        status = failure.code if isinstance(failure.code, int) else _SERVER_FAULT
        translated = error_of(status, failure, self._key)
        if isinstance(translated, RequestRefused) and self._answer_bytes:
            # It has begun, so another one may well finish.
            return EngineError(str(translated))
        return translated if isinstance(translated, RequestRefused | EngineBusy) else EngineError(str(translated))


async def chunks_of(response: ClientResponse) -> AsyncGenerator[Chunk, None]:
    """Read an answer chunk by chunk, or in one where the server does not stream.

    Raises:
        EngineError: it is no answer.
    """
    if response.content_type == "text/html":
        raise EngineError("the server sent a web page where a stream of events was expected: the URL may be wrong")
    if response.content_type == "application/json":
        yield _chunk_of(await whole_body(response))
        return
    async for data in data_lines(response.content):
        if data == _DONE:
            return
        yield _chunk_of(data)


def _chunk_of(data: bytes) -> Chunk:
    try:
        return msgspec.json.decode(data, type=Chunk)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EngineError(f"the server sent what cannot be read: {error}") from error
