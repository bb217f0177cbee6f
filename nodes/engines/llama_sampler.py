"""How one sequence's next token is chosen: a chain of llama.cpp's samplers with llama.cpp's own defaults."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

from nodes.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nodes.engines.llama_context import LlamaContext
    from nodes.engines.llama_model import LlamaModel
    from streams.chat import Sampling

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
        params = api.llama_sampler_chain_default_params()
        params.no_perf = True
        self._chain: Any = api.llama_sampler_chain_init(params)
        for link in (*_bounds(model, sampling, grammar), *_links(api, model.vocabulary, sampling)):
            if link is None:
                self.close()
                raise EngineError("llama.cpp could not make a sampler")
            api.llama_sampler_chain_add(self._chain, link)
        for token in written:
            api.llama_sampler_accept(self._chain, token)

    def choose(self, context: LlamaContext, place: int) -> int:
        """Choose what follows the token at ``place`` of the batch that was computed last, and remember it."""
        return self._api.llama_sampler_sample(self._chain, context.handle, place)

    def close(self) -> None:
        """Free the chain and its links; harmless if called again."""
        chain, self._chain = self._chain, None
        if chain is not None:
            self._api.llama_sampler_free(chain)


def penalises(sampling: Sampling) -> bool:
    """Say whether it matters which tokens are in the answer already."""
    return bool(sampling.presence_penalty or sampling.frequency_penalty)


def _bounds(model: LlamaModel, sampling: Sampling, grammar: str | None) -> Iterator[Any]:
    """What comes before all choice: what a user wants more or less of, and what may stand there at all."""
    api = model.api
    if sampling.logit_bias:
        biases = (api.llama_logit_bias * len(sampling.logit_bias))(
            *((one.token, one.bias) for one in sampling.logit_bias)
        )
        yield api.llama_sampler_init_logit_bias(model.vocabulary, len(biases), biases)
    if grammar is not None:
        yield api.llama_sampler_init_grammar(model.vocabulary_handle, grammar.encode(), b"root")


def _links(api: Any, vocabulary: int, sampling: Sampling) -> Iterator[Any]:
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
