"""A BERT encoder in numpy: numbers of word pieces in, one vector of length 1 out (mean of all positions).

Devlin et al. 2018 and Reimers and Gurevych 2019. Texts are computed one by one: without padding the vector of a text is
the same whatever stands beside it, and small models gain little from more at once.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

_LEAST_VARIANCE: Final = np.float32(1e-12)
_ONE: Final = np.float32(1)
_HALF: Final = np.float32(0.5)
_HALF_ROOT: Final = np.float32(math.sqrt(0.5))

# Abramowitz and Stegun, 7.1.26: the error function within 1.5e-7, which is what a float32 can hold.
_ERF_SCALE: Final = np.float32(0.3275911)
_ERF: Final = tuple(np.float32(value) for value in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592))


class Bert:
    """The weights of one encoder. It keeps no state, so threads may share it."""

    def __init__(self, tensors: Mapping[str, Floats], *, layers: int, heads: int) -> None:
        """Take the tensors by the names that BERT models use.

        Raises:
            KeyError: one is missing.
        """
        self._words = tensors["embeddings.word_embeddings.weight"]
        self._positions = (
            tensors["embeddings.position_embeddings.weight"] + tensors["embeddings.token_type_embeddings.weight"][0]
        )
        self._norm = _Norm(tensors, "embeddings.LayerNorm")
        self._layers = [_Layer(tensors, f"encoder.layer.{number}", heads) for number in range(layers)]

    @property
    def dimensions(self) -> int:
        """Numbers in a vector."""
        return self._words.shape[1]

    def vector(self, pieces: Sequence[int]) -> Floats:
        """Embed one text."""
        state = self._norm(self._words[list(pieces)] + self._positions[: len(pieces)])
        for layer in self._layers:
            state = layer(state)
        mean = state.mean(axis=0)
        return mean / np.float32(math.sqrt(float(mean @ mean)))


class _Norm:
    def __init__(self, tensors: Mapping[str, Floats], name: str) -> None:
        self._scale, self._shift = tensors[f"{name}.weight"], tensors[f"{name}.bias"]

    def __call__(self, state: Floats) -> Floats:
        centred = state - state.mean(axis=-1, keepdims=True)
        variance = np.square(centred).mean(axis=-1, keepdims=True)
        return centred / np.sqrt(variance + _LEAST_VARIANCE) * self._scale + self._shift


class _Linear:
    def __init__(self, tensors: Mapping[str, Floats], name: str) -> None:
        self._weights, self._bias = tensors[f"{name}.weight"].T, tensors[f"{name}.bias"]

    def __call__(self, state: Floats) -> Floats:
        return state @ self._weights + self._bias


class _Layer:
    def __init__(self, tensors: Mapping[str, Floats], name: str, heads: int) -> None:
        self._heads = heads
        self._query, self._key, self._value = (
            _Linear(tensors, f"{name}.attention.self.{part}") for part in ("query", "key", "value")
        )
        self._joined = _Linear(tensors, f"{name}.attention.output.dense")
        self._attended = _Norm(tensors, f"{name}.attention.output.LayerNorm")
        self._wide = _Linear(tensors, f"{name}.intermediate.dense")
        self._narrow = _Linear(tensors, f"{name}.output.dense")
        self._done = _Norm(tensors, f"{name}.output.LayerNorm")

    def __call__(self, state: Floats) -> Floats:
        attended = self._attended(state + self._joined(self._attention(state)))
        return self._done(attended + self._narrow(_gelu(self._wide(attended))))

    def _attention(self, state: Floats) -> Floats:
        query, key, value = (self._parted(part(state)) for part in (self._query, self._key, self._value))
        scores = query @ key.transpose(0, 2, 1) / np.float32(math.sqrt(query.shape[-1]))
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        return (weights @ value).transpose(1, 0, 2).reshape(state.shape)

    def _parted(self, state: Floats) -> Floats:
        return state.reshape(len(state), self._heads, -1).transpose(1, 0, 2)


def _gelu(state: Floats) -> Floats:
    return np.multiply(state, (_erf(state * _HALF_ROOT) + _ONE) * _HALF)


def _erf(state: Floats) -> Floats:
    size = np.abs(state)
    turned = np.reciprocal(size * _ERF_SCALE + _ONE)
    rest = np.zeros_like(turned)
    for factor in _ERF:
        rest = (rest + factor) * turned
    return np.copysign(rest * np.exp(-size * size) - _ONE, state)
