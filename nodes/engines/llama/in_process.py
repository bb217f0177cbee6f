"""llama.cpp in this process, by whatever binding: requests in lanes, refusals, start and stop are the same for all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Final

from nodes.engines.demands import announced, is_constrained
from nodes.engines.lanes import Lanes
from nodes.engines.llama.plain_text import NO_MARKERS, PlainText
from nodes.engines.llama.request import LLAMA_ABILITIES, llama_request
from nodes.engines.llama.startup import start_with_model

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from nodes.engine import EngineLoad, EngineName, EngineSpec, Generate, OnLoading, Piece
    from nodes.engines.lanes import PieceSink
    from nodes.engines.llama.request import LlamaRequest
    from nodes.models.file import ModelFile
    from streams.devices.replica import Replica

_SLOTS: Final = 4


class LlamaInProcess(ABC):
    """One model of one binding; see `nodes.engine.Engine`."""

    name: EngineName

    def __init__(self, spec: EngineSpec, on_loading: OnLoading) -> None:
        self._spec = spec
        self._on_loading = on_loading
        self._slots = spec.slots or _SLOTS
        self._lanes = Lanes(self._slots)
        self._plain = NO_MARKERS
        self._vocabulary = 0
        self._abilities = announced(LLAMA_ABILITIES, spec)

    async def start(self) -> Replica:
        """Load the model and measure it."""
        return await start_with_model(
            self, self.name, self._spec, self._slots, self._read_and_open, self._on_loading,
            on_gpu=self._is_on_gpu(), abilities=self._abilities,
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
        await self._unload()

    def _read_and_open(self, file: ModelFile, context_tokens: int) -> None:
        self._plain = PlainText(file.header.markers)
        self._vocabulary = file.header.vocabulary_tokens
        self._open(file, context_tokens)

    @abstractmethod
    def _is_on_gpu(self) -> bool:
        """Whether the model lies in a GPU's memory."""

    @abstractmethod
    def _open(self, file: ModelFile, context_tokens: int) -> None:
        """Load the model; called in a thread.

        Raises:
            EngineError: if it cannot be; nothing stays loaded.
        """

    @abstractmethod
    def _answer(self, asked: LlamaRequest, sink: PieceSink) -> None:
        """Run one request; called in its lane's thread.

        Raises:
            EngineError: if it cannot be answered.
        """

    @abstractmethod
    async def _unload(self) -> None:
        """Free the model, if it was loaded."""
