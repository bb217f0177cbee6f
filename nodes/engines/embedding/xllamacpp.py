"""An embedding model of llama.cpp's (a GGUF file), by the binding ``xllamacpp``."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from nodes.embedding import Embed, Embedded
from nodes.engines.embedding.text_lanes import TextLanes, stopped
from nodes.engines.embedding.texts import PROBE, check, too_long
from nodes.engines.embedding.vectors import NUMBER_BYTES, unit
from nodes.engines.host import compute_threads, resident_bytes
from nodes.engines.llama.memory_need import refuse_what_does_not_fit
from nodes.engines.llama.plain_text import NO_MARKERS, PlainText
from nodes.engines.llama.startup import left_bytes
from nodes.engines.llama.xllamacpp_library import has_gpu, import_binding, open_server
from nodes.errors import EngineError, EngineUnavailable, RequestRefused
from nodes.models.file import find_model
from streams.devices.replica import Replica
from streams.tasks.chat import Usage

if TYPE_CHECKING:
    from nodes.embedding import EmbeddingSpec
    from nodes.engine import EngineLoad
    from nodes.engines.embedding.text_lanes import TextJob
    from nodes.models.file import ModelFile

_SLOTS: Final = 1
_ERRORS_ONLY: Final = 1
_TOO_LONG: Final = re.compile(r"(?:input \(|request \()(\d+) tokens\)")
"""How llama-server says it, where a text is longer than a batch or than the context."""


class _Vector(Struct, frozen=True):
    embedding: list[float]


class _Counted(Struct, frozen=True):
    prompt_tokens: int = 0


class _Failure(Struct, frozen=True):
    message: str = ""


class _Answer(Struct, frozen=True):
    data: list[_Vector] = []
    usage: _Counted = _Counted()
    error: _Failure | None = None


class XllamacppEmbeddingEngine:
    """One model in llama-server's engine, which is asked for one text after the other."""

    def __init__(self, spec: EmbeddingSpec) -> None:
        """Prepare.

        Raises:
            EngineUnavailable: the binding is not installed, or no model is named.
        """
        if spec.model is None:
            raise EngineUnavailable("give the path of an embedding model, a GGUF file, by --model")
        self._spec = spec
        self._model = spec.model
        self._binding = import_binding()
        self._slots = spec.slots or _SLOTS
        self._lanes = TextLanes(self._slots, name="llama-embeddings")
        self._server: Any = None
        self._plain = NO_MARKERS
        self._context_tokens = spec.context_tokens

    async def start(self) -> Replica:
        """Load the model and measure it."""
        model = await asyncio.to_thread(find_model, self._model, self._spec.model_id)
        self._context_tokens = min(self._spec.context_tokens, model.header.context_tokens or self._spec.context_tokens)
        if not has_gpu(self._binding):
            refuse_what_does_not_fit(
                model, context_tokens=self._context_tokens, slots=self._slots, available_bytes=left_bytes()
            )
        before = resident_bytes()
        try:
            await asyncio.to_thread(self._load, model)
            began = time.perf_counter()
            probed = await self._probed()
            elapsed_s = time.perf_counter() - began
        except BaseException:
            await self.stop()
            raise
        return Replica(
            model=model.model_id,
            engine="xllamacpp",
            kind="embedding",
            dimensions=len(probed.vectors[0]) // NUMBER_BYTES,
            context_tokens=self._context_tokens,
            slots=self._slots,
            quantisation=model.header.quantisation,
            parameters=model.header.parameters,
            file_bytes=model.header.file_bytes,
            memory_bytes=max(resident_bytes() - before, model.header.file_bytes),
            prompt_tokens_per_s=round(probed.usage.prompt_tokens / elapsed_s, 1),
            continues=False,
        )

    async def embed(self, request: Embed) -> Embedded:
        """Turn texts into vectors; see `nodes.embedding.EmbeddingEngine`."""
        check(request)
        return await self._lanes.run(self._embedded, request)

    def load(self) -> EngineLoad:
        """Count the requests inside."""
        return self._lanes.load()

    async def stop(self) -> None:
        """End every request, then unload the model."""
        await self._lanes.stop()
        self._server = None  # its destructor ends the C++ threads

    async def _probed(self) -> Embedded:
        try:
            return await self.embed(Embed(texts=(PROBE,)))
        except EngineError as error:
            raise EngineUnavailable(
                f"{self._model} gives no vector for a text, so it is no embedding model: {error}"
            ) from error

    def _load(self, model: ModelFile) -> None:
        self._plain = PlainText(model.header.markers)
        params = self._binding.CommonParams()
        params.n_parallel = self._slots
        params.n_ctx = self._context_tokens * self._slots
        # These models read a text in one step or not at all.
        params.n_batch = params.n_ubatch = self._context_tokens
        params.embedding = True
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = compute_threads(self._spec.threads)
        params.verbosity = _ERRORS_ONLY
        params.fit_params = False
        params.n_threads_http = 1
        params.ui = params.endpoint_slots = False
        # Nothing of one request may be left for the next.
        params.cache_prompt = params.cache_idle_slots = False
        params.cache_ram_mib = 0
        params.slot_prompt_similarity = 0.0
        self._server = open_server(self._binding, params, model.path)

    def _embedded(self, request: Embed, job: TextJob) -> Embedded:
        """Work in a thread; llama.cpp is not to be interrupted inside a text."""
        server = self._server
        if server is None:
            raise stopped()
        vectors: list[bytes] = []
        tokens = 0
        for number, text in enumerate(request.texts):
            job.look()
            answer = msgspec.convert(server.handle_embeddings({"input": self._plain(text)}), _Answer)
            if answer.error is not None or not answer.data:
                raise self._failure(number, answer.error.message if answer.error else "it says nothing")
            vectors.append(unit(answer.data[0].embedding))
            tokens += answer.usage.prompt_tokens
        return Embedded(vectors=tuple(vectors), usage=Usage(prompt_tokens=tokens, completion_tokens=0))

    def _failure(self, number: int, said: str) -> RequestRefused | EngineError:
        found = _TOO_LONG.search(said)
        if found is not None:
            return too_long(number, int(found[1]), self._context_tokens)
        return EngineError(f"llama.cpp gave no vector for text {number}: {said}")
