"""llama.cpp by the binding ``llama-cpp-python``, which is compiled on the machine and so can be a build of one's own.

Continuous batching of our own on llama.cpp's batch API: requests join and leave at every step of the model.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec import Struct

from nodes.engines.llama.batches import LlamaBatches
from nodes.engines.llama.context import LlamaContext
from nodes.engines.llama.in_process import LlamaInProcess
from nodes.engines.llama.library import has_gpu, import_binding
from nodes.engines.llama.model import LlamaModel
from nodes.engines.llama.sequence import LlamaSequence
from nodes.errors import EngineUnavailable

if TYPE_CHECKING:
    from nodes.engine import EngineSpec, OnLoading
    from nodes.engines.lanes import PieceSink
    from nodes.engines.llama.model import Offload
    from nodes.engines.llama.request import LlamaRequest
    from nodes.models.file import ModelFile


class _Loaded(Struct, frozen=True, kw_only=True):
    """What there is once the model is loaded."""

    model: LlamaModel
    context: LlamaContext
    batches: LlamaBatches
    context_tokens: int

    def close(self) -> None:
        """Free everything, in the order in which it hangs together."""
        self.batches.stop()
        self.context.close()
        self.model.close()


class LlamaCppPythonEngine(LlamaInProcess):
    """One model in one llama.cpp context.

    Nothing of one request is left for the next: what the context remembers of it is dropped at its end.
    """

    name = "llama-cpp-python"

    def __init__(self, spec: EngineSpec, on_loading: OnLoading, offload: Offload | None = None) -> None:
        super().__init__(spec, on_loading)
        self._offload = offload
        self._loaded: _Loaded | None = None
        import_binding("llama_cpp")

    def _is_on_gpu(self) -> bool:
        return self._offload is not None or has_gpu()

    def _open(self, file: ModelFile, context_tokens: int) -> None:
        model = LlamaModel(file.path, self._offload)
        try:
            context = LlamaContext(model, context_tokens=context_tokens, slots=self._slots, threads=self._spec.threads)
        except EngineUnavailable:
            model.close()
            raise
        batches = LlamaBatches(context, self._slots)
        self._loaded = _Loaded(model=model, context=context, batches=batches, context_tokens=context_tokens)

    def _answer(self, asked: LlamaRequest, sink: PieceSink) -> None:
        """Run one request in its lane's thread, which waits while the batches' thread works."""
        loaded = self._loaded
        if loaded is None:
            raise EngineUnavailable("the engine was not started")
        loaded.batches.run(LlamaSequence(loaded.model, asked, sink, loaded.context_tokens))

    async def _unload(self) -> None:
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            await asyncio.to_thread(loaded.close)
