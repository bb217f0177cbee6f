"""llama.cpp by the binding ``llama-cpp-python``, which is compiled on the machine and so can be a build of one's own.

One request runs at a time, the others wait in order; so its replica has one slot.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Final

from nodes.engines.conversation import conversation_of
from nodes.engines.lanes import Lanes, PieceSink
from nodes.engines.llama_model import LlamaModel, has_gpu, import_binding
from nodes.engines.plain_text import NO_MARKERS, PlainText
from nodes.engines.startup import start_with_model
from nodes.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from nodes.engine import EngineLoad, EngineSpec, Generate, OnLoading, Piece
    from nodes.engines.conversation import Conversation
    from nodes.engines.llama_model import Offload
    from nodes.model_file import ModelFile
    from streams.chat import Sampling
    from streams.replica import Replica

_SLOTS: Final = 1


class LlamaCppPythonEngine:
    """One model in one llama.cpp context."""

    def __init__(self, spec: EngineSpec, on_loading: OnLoading, offload: Offload | None = None) -> None:
        if spec.slots not in (None, _SLOTS):
            raise EngineUnavailable(
                f"engine llama-cpp-python answers one request at a time and cannot have {spec.slots} slots: leave"
                " --slots out, or use --engine xllamacpp"
            )
        self._spec = spec
        self._on_loading = on_loading
        self._offload = offload
        import_binding("llama_cpp")
        self._lanes = Lanes(_SLOTS)
        self._model: LlamaModel | None = None
        self._plain = NO_MARKERS

    async def start(self) -> Replica:
        """Load the model and measure it."""
        return await start_with_model(
            self, "llama-cpp-python", self._spec, _SLOTS, self._load, self._on_loading,
            on_gpu=self._offload is not None or has_gpu(),
        )  # fmt: skip

    async def generate(self, request: Generate) -> AsyncGenerator[Piece, None]:
        """Stream one answer; see `nodes.engine.Engine`."""
        work = partial(self._answer, conversation_of(request, self._plain), request.sampling)
        async with aclosing(self._lanes.stream(work)) as pieces:
            async for piece in pieces:
                yield piece

    def can_continue(self, request: Generate) -> bool:
        """Say yes: llama.cpp takes the text so far as a part of its prompt."""
        return True

    def load(self) -> EngineLoad:
        """Count the requests inside."""
        return self._lanes.load()

    async def stop(self) -> None:
        """End every request, then unload the model."""
        await self._lanes.stop()
        model, self._model = self._model, None
        if model is not None:
            await asyncio.to_thread(model.close)

    def _load(self, model: ModelFile, context_tokens: int) -> None:
        self._plain = PlainText(model.header.markers)
        self._model = LlamaModel(model.path, context_tokens, self._spec.threads, self._offload)

    def _answer(self, conversation: Conversation, sampling: Sampling, sink: PieceSink) -> None:
        """Run one request in the lane's thread."""
        if self._model is None:
            raise EngineUnavailable("the engine was not started")
        for piece in self._model.answer(conversation, sampling, lambda: sink.closed):
            sink.put(piece)
