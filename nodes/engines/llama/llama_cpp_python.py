"""llama.cpp by the binding ``llama-cpp-python``, which is compiled on the machine and so can be a build of one's own.

Continuous batching of our own on llama.cpp's batch API: requests join and leave at every step of the model.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from nodes.engines.demands import announced, is_constrained
from nodes.engines.lanes import Lanes, PieceSink
from nodes.engines.llama.batches import LlamaBatches
from nodes.engines.llama.context import LlamaContext
from nodes.engines.llama.library import has_gpu, import_binding
from nodes.engines.llama.model import LlamaModel
from nodes.engines.llama.plain_text import NO_MARKERS, PlainText
from nodes.engines.llama.request import LLAMA_ABILITIES, llama_request
from nodes.engines.llama.sequence import LlamaSequence
from nodes.engines.llama.startup import start_with_model
from nodes.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from nodes.engine import EngineLoad, EngineSpec, Generate, OnLoading, Piece
    from nodes.engines.llama.model import Offload
    from nodes.engines.llama.request import LlamaRequest
    from nodes.models.file import ModelFile
    from streams.devices.replica import Replica

_SLOTS: Final = 4


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


class LlamaCppPythonEngine:
    """One model in one llama.cpp context.

    Nothing of one request is left for the next: what the context remembers of it is dropped at its end.
    """

    def __init__(self, spec: EngineSpec, on_loading: OnLoading, offload: Offload | None = None) -> None:
        self._spec = spec
        self._on_loading = on_loading
        self._offload = offload
        import_binding("llama_cpp")
        self._slots = spec.slots or _SLOTS
        self._lanes = Lanes(self._slots)
        self._loaded: _Loaded | None = None
        self._plain = NO_MARKERS
        self._vocabulary = 0
        self._abilities = announced(LLAMA_ABILITIES, spec)

    async def start(self) -> Replica:
        """Load the model and measure it."""
        return await start_with_model(
            self, "llama-cpp-python", self._spec, self._slots, self._load, self._on_loading,
            on_gpu=self._offload is not None or has_gpu(), abilities=self._abilities,
        )  # fmt: skip

    async def generate(self, request: Generate) -> AsyncGenerator[Piece, None]:
        """Stream one answer; see `nodes.engine.Engine`."""
        work = partial(self._answer, await llama_request(request, self._plain, self._abilities, self._vocabulary))
        async with aclosing(self._lanes.stream(work)) as pieces:
            async for piece in pieces:
                yield piece

    def can_continue(self, request: Generate) -> bool:
        """Say yes, where no grammar must be led through the text: llama.cpp takes it as a part of its prompt."""
        return not is_constrained(request)

    def load(self) -> EngineLoad:
        """Count the requests inside."""
        return self._lanes.load()

    async def stop(self) -> None:
        """End every request, then unload the model."""
        await self._lanes.stop()
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            await asyncio.to_thread(loaded.close)

    def _load(self, file: ModelFile, context_tokens: int) -> None:
        self._plain = PlainText(file.header.markers)
        self._vocabulary = file.header.vocabulary_tokens
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
