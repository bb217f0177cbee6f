"""One context of llama.cpp: what it remembers of several sequences, and the batch that it computes next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nodes.engines.host import compute_threads
from nodes.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from nodes.engines.llama.model import LlamaModel

BATCH_TOKENS: Final = 60
"""Tokens per step, prompts and answers together. All answers wait for a step; a prompt can be cancelled between two.

From 64 on llama.cpp computes attention in another way: the logits of the same token then differed by 1.5. Below, most
were the same to the bit whatever else was in the batch."""

PROMPT_TOKENS: Final = 12
"""Room for prompts in a step however many answers are written."""

_WHOLE: Final = -1


class LlamaContext:
    """Not thread-safe: its batch loop alone may use it."""

    def __init__(self, model: LlamaModel, *, context_tokens: int, slots: int, threads: int | None) -> None:
        """Open a context in which each of ``slots`` sequences may have ``context_tokens``.

        Raises:
            EngineUnavailable: llama.cpp cannot, for want of memory for instance.
        """
        self._model = model
        self._api = api = model.api
        self._room = max(BATCH_TOKENS, slots + PROMPT_TOKENS)
        params = api.llama_context_default_params()
        params.n_ctx = context_tokens * slots
        params.n_batch = params.n_ubatch = self._room
        params.n_seq_max = params.n_outputs_max = slots
        params.n_threads = params.n_threads_batch = compute_threads(threads)
        # With flash attention a token's logits came out the same to the bit however a prompt was cut into steps (see
        # BATCH_TOKENS); without, they differed by 0.6 and a greedy answer that was continued took another way.
        params.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_ENABLED
        # One store for all: otherwise llama.cpp computes prompts and answers, and slots that are not neighbours, one
        # after the other.
        params.kv_unified = True
        params.no_perf = True
        self.handle: Any = api.llama_init_from_model(model.handle, params)
        if self.handle is None:
            raise model.unusable()
        self._memory = api.llama_get_memory(self.handle)
        self._batch = api.llama_batch_init(self._room, 0, 1)

    def close(self) -> None:
        """Free the memory."""
        handle, self.handle = self.handle, None
        if handle is not None:
            self._api.llama_batch_free(self._batch)
            self._api.llama_free(handle)

    @property
    def room(self) -> int:
        """How many tokens the batch still takes."""
        return self._room - self._batch.n_tokens

    def clear(self) -> None:
        """Begin a new batch."""
        self._batch.n_tokens = 0

    def add(self, sequence: int, tokens: Sequence[int], at: int, *, asks: bool) -> int:
        """Put ``tokens`` of a sequence, the first of them its ``at``-th, into the batch.

        Returns the place of the last one; where ``asks``, what follows it can be sampled there after `compute`.
        """
        batch = self._batch
        for place, token in enumerate(tokens, batch.n_tokens):
            batch.token[place] = token
            batch.pos[place] = at + place - batch.n_tokens
            batch.n_seq_id[place] = 1
            batch.seq_id[place][0] = sequence
            batch.logits[place] = False
        batch.n_tokens += len(tokens)
        batch.logits[batch.n_tokens - 1] = asks
        return batch.n_tokens - 1

    def compute(self) -> None:
        """Run the model once over the batch.

        Raises:
            EngineError: llama.cpp failed; nothing that it remembers of the batch's sequences can be used.
        """
        code: int = self._api.llama_decode(self.handle, self._batch)
        if code != 0:
            why = "; ".join(self._model.complaints) or "it does not say why"
            raise EngineError(f"llama.cpp failed at a step of {self._batch.n_tokens} tokens (code {code}): {why}")

    def logits(self, place: int) -> NDArray[np.float32]:
        """What the model says of each token behind the one at ``place``; good until the next batch is computed."""
        row = self._api.llama_get_logits_ith(self.handle, place)
        return np.ctypeslib.as_array(row, (self._model.vocabulary,))

    def logprobs(self, place: int) -> NDArray[np.float32]:
        """What each token's logprob is behind the token at ``place`` of the batch that was computed last."""
        logits = self.logits(place)
        shifted = logits - logits.max()
        return shifted - np.log(np.exp(shifted).sum())

    @staticmethod
    def likeliest(logprobs: NDArray[np.float32], count: int) -> list[int]:
        """The tokens of the highest logprobs, best first."""
        if count == 0:
            return []
        best = np.argpartition(logprobs, -count)[-count:]
        return [int(token) for token in best[np.argsort(-logprobs[best])]]

    def forget(self, sequence: int) -> None:
        """Drop all that is remembered of a sequence, so that its place can be another's."""
        self._api.llama_memory_seq_rm(self._memory, sequence, _WHOLE, _WHOLE)
