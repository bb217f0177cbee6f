"""An embedding model in vLLM: ``vllm serve`` with its runner for pooling, run and watched by the node."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from msgspec.structs import replace

from nodes.engines.embedding.openai import OpenAiEmbeddingEngine
from nodes.engines.remote.vllm_program import VllmProgram

if TYPE_CHECKING:
    from nodes.embedding import EmbeddingEngineName, EmbeddingSpec
    from nodes.engine import EngineLoad
    from nodes.engines.remote.model_list import Choice, ServerFacts
    from streams.devices.replica import Replica

_SLOTS: Final = 8
_RUNNER: Final = ("--runner", "pooling")


class VllmEmbeddingEngine(OpenAiEmbeddingEngine):
    """One model folder in one ``vllm serve``. Nobody else can ask that: it wants a key that only this process knows."""

    _name: ClassVar[EmbeddingEngineName] = "vllm"

    def __init__(self, spec: EmbeddingSpec) -> None:
        """Look whether the program and the model are there.

        Raises:
            EngineUnavailable: one is not; the message says how to get it.
        """
        self._program = program = VllmProgram(
            spec.vllm, model=spec.model, model_id=spec.model_id, context_tokens=spec.context_tokens,
            slots=spec.slots or _SLOTS,
        )  # fmt: skip
        own = replace(spec, model=program.name, context_tokens=program.context_tokens, slots=program.slots)
        super().__init__(replace(own, remote=replace(spec.remote, url=program.url)), key=program.key)

    @property
    def child_pid(self) -> int | None:
        """The guard of ``vllm serve``, and the group of both; None while it does not run."""
        return self._program.pid

    async def start(self) -> Replica:
        """Start the program, wait until it has loaded the model, and find out what it makes of texts."""
        self._server.open()
        try:
            await self._program.start(self._server, on_end=self._presence.doubt, more=_RUNNER)
        except BaseException:
            await self.stop()
            raise
        return replace(await super().start(), quantisation=self._program.quantisation)

    async def stop(self) -> None:
        """Cut every connection, then end the program and all that it started."""
        await super().stop()
        await self._program.stop()

    def load(self) -> EngineLoad:
        """Count the requests; with it goes what vLLM said last of its cache."""
        return replace(super().load(), cache_used=self._program.cache_used)

    async def _look(self) -> None:
        await super()._look()
        await self._program.read_metrics(self._server)

    async def _facts(self, choice: Choice) -> ServerFacts:
        return replace(await super()._facts(choice), slots=self._spec.slots, markers=self._program.markers())
