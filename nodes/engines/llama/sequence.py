"""One answer on its way through the batches: tokens of a prompt that are left to read, then tokens that are written."""

from __future__ import annotations

import codecs
from threading import Event
from typing import TYPE_CHECKING

from nodes.engines.answer_writer import AnswerWriter
from nodes.engines.conversation import context_exceeded
from nodes.engines.llama.sampler import LlamaSampler, penalises
from streams.tasks.answer_parts import LikelyToken, TokenLogprob

if TYPE_CHECKING:
    from nodes.engines.lanes import PieceSink
    from nodes.engines.llama.context import LlamaContext
    from nodes.engines.llama.model import LlamaModel
    from nodes.engines.llama.request import LlamaRequest
    from streams.tasks.chat import FinishReason


class LlamaSequence:
    """Made in the thread of its request, which then waits for it; all else happens in the thread of the batches."""

    def __init__(self, model: LlamaModel, asked: LlamaRequest, sink: PieceSink, context_tokens: int) -> None:
        """Read the messages.

        Raises:
            RequestRefused: the template refuses them, or they leave no room in the context.
        """
        conversation, sampling = asked.conversation, asked.sampling
        prompt = model.prompt(conversation)
        if len(prompt) >= context_tokens:
            raise context_exceeded(len(prompt), context_tokens)
        room = context_tokens - len(prompt)
        self._model = model
        self._sink = sink
        self._unread = prompt
        self._wanted = min(sampling.max_tokens or room, room)
        self._writer = AnswerWriter(sampling.stop, conversation.mended, prompt_tokens=len(prompt), calls=asked.reader())
        self._top = sampling.top_logprobs
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        written = model.tokens(conversation.begun) if penalises(sampling) else ()
        self._sampler = LlamaSampler(model, sampling, written, grammar=asked.grammar)
        self._done = Event()
        self._error: Exception | None = None
        self.computed = 0
        """Tokens that the model has read or will have read after the batch that is being made."""

    @property
    def left(self) -> int:
        """How many tokens are to be read before it can write the next one; the last of them asks for that."""
        return len(self._unread)

    @property
    def is_over(self) -> bool:
        """Whether it needs its place no more."""
        return self._writer.finished or self._sink.closed or self._error is not None

    def read(self, count: int) -> list[int]:
        """Take the next ``count`` tokens into a batch."""
        taken, self._unread = self._unread[:count], self._unread[count:]
        self.computed += count
        return taken

    def write(self, context: LlamaContext, place: int) -> None:
        """Choose the next token by what was computed at ``place``, and hand on the text that it adds."""
        token = self._sampler.choose(context, place)
        self._unread.append(token)
        text, ends = self._meaning(token)
        logprobs = () if self._top is None or ends == "stop" else (self._likely(context, place, token, self._top),)
        piece = self._writer.add(text, ends=ends, logprobs=logprobs)
        if piece is not None:
            self._sink.put(piece)

    def fail(self, error: Exception) -> None:
        """End it with an error; the first one counts."""
        self._error = self._error or error

    def release(self) -> None:
        """Let the request's thread go on, when nothing is left of it in the context."""
        self._sampler.close()
        self._done.set()

    def wait(self) -> None:
        """Wait in the request's thread for the end.

        Raises:
            EngineError: what `fail` was told.
        """
        self._done.wait()
        if self._error is not None:
            raise self._error

    def _likely(self, context: LlamaContext, place: int, token: int, top: int) -> TokenLogprob:
        known = context.logprobs(place)
        best = context.likeliest(known, top)
        return TokenLogprob(
            token=self._model.token_text(token),
            raw=self._model.odd_bytes(token),
            logprob=float(known[token]),
            top=tuple(
                LikelyToken(
                    token=self._model.token_text(other), raw=self._model.odd_bytes(other), logprob=float(known[other])
                )
                for other in best
            ),
        )

    def _meaning(self, token: int) -> tuple[str, FinishReason | None]:
        if self._model.ends_answer(token):
            return "", "stop"
        last = self._writer.tokens + 1 == self._wanted
        return self._decoder.decode(self._model.token_bytes(token)), "length" if last else None
