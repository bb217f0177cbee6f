"""How one sequence's next token is chosen: a chain of llama.cpp's samplers with llama.cpp's own defaults.

A grammar is asked about the token that was chosen, and only where it refuses that one about all the others, as
llama.cpp's own programs do: a model that has understood writes mostly what may stand there.
"""

from __future__ import annotations

import ctypes
import secrets
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nodes.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from nodes.engines.llama.context import LlamaContext
    from nodes.engines.llama.model import LlamaModel
    from streams.tasks.chat import Sampling

_RANDOM_SEED: Final = 0xFFFF_FFFF
"""llama.cpp reads this seed as "choose one", so no seed of a user's may become it."""

_TOP_K: Final = 40
_TOP_P: Final = 0.95
_MIN_P: Final = 0.05
_TEMPERATURE: Final = 0.8
_PENALISED_TOKENS: Final = 64
"""So many of the latest tokens count for penalties."""

_AT_LEAST: Final = 1
_NO_REPEAT_PENALTY: Final = 1.0

_TOKEN: Final = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
"""``llama_token_data``."""

_NOTHING_YET: Final = -1


class LlamaSampler:
    """The chain of one answer: it remembers what was written (for penalties) and its own random numbers."""

    def __init__(
        self, model: LlamaModel, sampling: Sampling, written: Iterable[int], *, grammar: str | None = None
    ) -> None:
        """Make the chain; ``written`` are tokens of the answer that were there before, none under a grammar.

        Raises:
            EngineError: llama.cpp cannot make it.
        """
        self._api = api = model.api
        self._vocabulary = model.vocabulary
        params = api.llama_sampler_chain_default_params()
        params.no_perf = True
        self._chain: Any = api.llama_sampler_chain_init(params)
        self._grammar: Any = None
        for link in _links(api, model.vocabulary, sampling):
            self._keep(link)
            api.llama_sampler_chain_add(self._chain, link)
        if grammar is not None:
            self._grammar = self._keep(
                api.llama_sampler_init_grammar(model.vocabulary_handle, grammar.encode(), b"root")
            )
        for token in written:
            api.llama_sampler_accept(self._chain, token)

    def choose(self, context: LlamaContext, place: int) -> int:
        """Choose what follows the token at ``place`` of the batch that was computed last, and remember it."""
        if self._grammar is None:
            return self._api.llama_sampler_sample(self._chain, context.handle, place)
        logits = context.logits(place)
        token = self._best_of(logits)
        if not self._may_stand(token):
            token = self._best_of(logits, self._grammar)
        self._api.llama_sampler_accept(self._grammar, token)
        self._api.llama_sampler_accept(self._chain, token)
        return token

    def close(self) -> None:
        """Free the chain and its links; harmless if called again."""
        samplers = [self._chain, self._grammar]
        self._chain = self._grammar = None
        for sampler in samplers:
            if sampler is not None:
                self._api.llama_sampler_free(sampler)

    def _keep(self, sampler: Any) -> Any:
        if sampler is None:
            self.close()
            raise EngineError("llama.cpp could not make a sampler")
        return sampler

    def _best_of(self, logits: NDArray[np.float32], *filters: Any) -> int:
        """Have the filters and then the chain choose among the whole vocabulary."""
        tokens = np.empty(self._vocabulary, _TOKEN)
        tokens["id"] = np.arange(self._vocabulary, dtype=np.int32)
        tokens["logit"] = logits
        tokens["p"] = 0
        candidates = self._candidates(tokens)
        for sampler in (*filters, self._chain):
            self._api.llama_sampler_apply(sampler, ctypes.byref(candidates))
        return int(candidates.data[candidates.selected].id)

    def _may_stand(self, token: int) -> bool:
        """Say whether the grammar takes a token here."""
        one = np.array([(token, 0.0, 0.0)], _TOKEN)
        candidates = self._candidates(one)
        self._api.llama_sampler_apply(self._grammar, ctypes.byref(candidates))
        return bool(one["logit"][0] > -np.inf)

    def _candidates(self, tokens: NDArray[Any]) -> Any:
        """Show an array to llama.cpp; it must be kept as long as this is used."""
        data = tokens.ctypes.data_as(self._api.llama_token_data_p)
        return self._api.llama_token_data_array(data=data, size=len(tokens), selected=_NOTHING_YET, sorted=False)


def penalises(sampling: Sampling) -> bool:
    """Say whether it matters which tokens are in the answer already."""
    return bool(sampling.presence_penalty or sampling.frequency_penalty)


def _links(api: Any, vocabulary: int, sampling: Sampling) -> Iterator[Any]:
    if sampling.logit_bias:
        biases = (api.llama_logit_bias * len(sampling.logit_bias))(
            *((one.token, one.bias) for one in sampling.logit_bias)
        )
        yield api.llama_sampler_init_logit_bias(vocabulary, len(biases), biases)
    if penalises(sampling):
        frequency, presence = sampling.frequency_penalty or 0.0, sampling.presence_penalty or 0.0
        yield api.llama_sampler_init_penalties(vocabulary, _PENALISED_TOKENS, _NO_REPEAT_PENALTY, frequency, presence)
    temperature = _TEMPERATURE if sampling.temperature is None else sampling.temperature
    if temperature == 0:
        yield api.llama_sampler_init_greedy()
        return
    seed = secrets.randbelow(_RANDOM_SEED) if sampling.seed is None else sampling.seed % _RANDOM_SEED
    yield api.llama_sampler_init_top_k(_TOP_K)
    yield api.llama_sampler_init_top_p(_TOP_P if sampling.top_p is None else sampling.top_p, _AT_LEAST)
    yield api.llama_sampler_init_min_p(_MIN_P, _AT_LEAST)
    yield api.llama_sampler_init_temp(temperature)
    yield api.llama_sampler_init_dist(seed)
