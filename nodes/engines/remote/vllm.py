"""vLLM: ``vllm serve`` in an environment of its own, run and watched by the node, asked like any chat endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from nodes.engines.remote.openai import OpenAiEngine
from nodes.engines.remote.vllm_program import VllmProgram

if TYPE_CHECKING:
    from nodes.engine import EngineLoad, EngineSpec, OnLoading
    from nodes.engines.remote.model_list import ListedModel, ServerFacts
    from streams.devices.replica import Replica

_SLOTS: Final = 8


class VllmEngine(OpenAiEngine):
    """One model folder in one ``vllm serve``. Nobody else can ask that: it wants a key that only this process knows."""

    def __init__(self, spec: EngineSpec, on_loading: OnLoading) -> None:
        """Look whether the program and the model are there.

        Raises:
            EngineUnavailable: one is not; the message says how to get it.
        """
        self._program = program = VllmProgram(
            spec.vllm, model=spec.model, model_id=spec.model_id, context_tokens=spec.context_tokens,
            slots=spec.slots or _SLOTS,
        )  # fmt: skip
        own = replace(spec, model=program.name, context_tokens=program.context_tokens, slots=program.slots)
        remote = replace(spec.remote, url=program.url)
        super().__init__(replace(own, remote=remote), on_loading, key=program.key)

    @property
    def child_pid(self) -> int | None:
        """The guard of ``vllm serve``, and the group of both; None while it does not run."""
        return self._program.pid

    async def start(self) -> Replica:
        """Start the program, wait until it has loaded the model, and find out what it can do."""
        self._server.open()
        try:
            await self._program.start(self._server, on_end=self._presence.doubt)
        except BaseException:
            await self.stop()
            raise
        return replace(await super().start(), engine="vllm", quantisation=self._program.quantisation)

    async def stop(self) -> None:
        """Cut every connection, then end the program and all that it started."""
        await super().stop()
        await self._program.stop()

    def load(self) -> EngineLoad:
        """Count the requests; with it goes what vLLM said last of its cache."""
        return replace(super().load(), cache_used=self._program.cache_used)

    async def requests_inside(self) -> int:
        """Ask vLLM itself how many requests it works on, beside our own count in `load`."""
        await self._program.read_metrics(self._server)
        return self._program.requests_inside

    async def _look(self) -> None:
        await super()._look()
        await self._program.read_metrics(self._server)

    async def _facts(self, model: ListedModel) -> ServerFacts:
        return replace(await super()._facts(model), slots=self._spec.slots, markers=self._program.markers())
