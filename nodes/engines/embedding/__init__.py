"""Engines that turn texts into vectors, and the one place that knows which there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nodes.embedding import EmbeddingEngine, EmbeddingSpec


def open_embedding_engine(spec: EmbeddingSpec) -> EmbeddingEngine:
    """Make the engine that ``spec`` names; its packages are imported only now, the model is loaded by ``start()``.

    Raises:
        EngineUnavailable: the engine's package is not installed; the message says how to get it.
    """
    if spec.engine == "openai":
        from nodes.engines.embedding.openai import OpenAiEmbeddingEngine

        return OpenAiEmbeddingEngine(spec)
    if spec.engine == "vllm":
        from nodes.engines.embedding.vllm import VllmEmbeddingEngine

        return VllmEmbeddingEngine(spec)
    if spec.engine == "litellm":
        from nodes.engines.embedding.cloud import CloudEmbeddingEngine

        return CloudEmbeddingEngine(spec)
    if spec.engine == "xllamacpp":
        from nodes.engines.embedding.xllamacpp import XllamacppEmbeddingEngine

        return XllamacppEmbeddingEngine(spec)
    from nodes.engines.embedding.minilm import MiniLmEngine

    return MiniLmEngine(spec)


def is_minilm_installed() -> bool:
    """Whether the small model that comes with ``make install`` can be served here."""
    from nodes.engines.embedding.minilm import is_installed

    return is_installed()
