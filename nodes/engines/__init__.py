"""The engines, and the one place that knows which there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nodes.engine import Engine, EngineSpec, Loading, OnLoading


def open_engine(spec: EngineSpec, on_loading: OnLoading | None = None) -> Engine:
    """Make the engine that ``spec`` names; its packages are imported only now, the model is loaded by ``start()``.

    Raises:
        EngineUnavailable: the engine's package is not installed; the message says how to get it.
    """
    report = on_loading or _silent
    if spec.engine == "synthetic":
        from nodes.engines.synthetic.engine import SyntheticEngine

        return SyntheticEngine(spec, report)
    if spec.engine == "llama-cpp-python":
        from nodes.engines.llama.llama_cpp_python import LlamaCppPythonEngine

        return LlamaCppPythonEngine(spec, report)
    if spec.engine == "openai":
        from nodes.engines.remote.openai import OpenAiEngine

        return OpenAiEngine(spec, report)
    if spec.engine == "triton":
        from nodes.engines.remote.triton import TritonEngine

        return TritonEngine(spec, report)
    if spec.engine == "vllm":
        from nodes.engines.remote.vllm import VllmEngine

        return VllmEngine(spec, report)
    if spec.engine == "litellm":
        from nodes.engines.cloud.cloud_engine import CloudEngine

        return CloudEngine(spec, report)
    from nodes.engines.llama.xllamacpp import XllamacppEngine

    return XllamacppEngine(spec, report)


def every_model(spec: EngineSpec) -> tuple[EngineSpec, ...]:
    """Make one spec for each model, where an engine's own file lists several.

    Raises:
        EngineUnavailable: that file cannot be used.
    """
    if spec.engine != "litellm":
        return (spec,)
    from nodes.engines.cloud.cloud_file import cloud_specs

    return cloud_specs(spec)


def _silent(loading: Loading) -> None:
    """Nobody watches."""
