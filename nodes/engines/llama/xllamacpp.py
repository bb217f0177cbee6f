"""llama.cpp by the binding ``xllamacpp``: llama-server's engine inside this process, with continuous batching.

It is the default engine, because it comes as a prebuilt wheel.
"""

from __future__ import annotations

import re
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from nodes.engines.demands import announced, is_constrained
from nodes.engines.host import compute_threads
from nodes.engines.lanes import Lanes, PieceSink
from nodes.engines.llama.plain_text import NO_MARKERS, PlainText
from nodes.engines.llama.request import LLAMA_ABILITIES, llama_request
from nodes.engines.llama.server_dialect import AnswerReader, chat_body, completion_body
from nodes.engines.llama.startup import start_with_model
from nodes.engines.llama.xllamacpp_library import has_gpu, import_binding, open_server
from nodes.errors import EngineUnavailable, RequestRefused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from nodes.engine import EngineLoad, EngineSpec, Generate, OnLoading, Piece
    from nodes.engines.llama.request import LlamaRequest
    from nodes.models.file import ModelFile
    from streams.devices.replica import Replica

_SLOTS: Final = 4
_BATCH_TOKENS: Final = 60
"""Prompt tokens per step. All slots wait for a step, and a prompt can be cancelled between two: with the binding's own
2048 a long prompt stopped every other answer for half a minute, with 64 for a second, at the same speed. From 64 on
llama.cpp computes attention in another way, with other results (see ``llama_context``)."""

_ERRORS_ONLY: Final = 1
_BUSY: Final = re.compile(rb"^llamacpp:requests_(?:processing|deferred) (\d+)", re.MULTILINE)


class XllamacppEngine:
    """One model in llama-server's engine.

    While the model loads the binding holds the interpreter, so the event loop stands still for that time.
    """

    def __init__(self, spec: EngineSpec, on_loading: OnLoading) -> None:
        self._spec = spec
        self._on_loading = on_loading
        self._binding = import_binding()
        self._slots = spec.slots or _SLOTS
        self._lanes = Lanes(self._slots)
        self._server: Any = None
        self._plain = NO_MARKERS
        self._vocabulary = 0
        self._abilities = announced(LLAMA_ABILITIES, spec)

    async def start(self) -> Replica:
        """Load the model and measure it."""
        return await start_with_model(
            self, "xllamacpp", self._spec, self._slots, self._load, self._on_loading,
            on_gpu=has_gpu(self._binding), abilities=self._abilities,
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

    def busy_slots(self) -> int:
        """Ask the C++ engine itself how many requests it works on, beside our own count in `load`."""
        if self._server is None:
            return 0
        metrics: bytes | str = self._server.handle_metrics()
        return sum(int(n) for n in _BUSY.findall(metrics if isinstance(metrics, bytes) else metrics.encode()))

    async def stop(self) -> None:
        """End every request, then unload the model."""
        await self._lanes.stop()
        self._server = None  # its destructor ends the C++ threads

    def _load(self, model: ModelFile, context_tokens: int) -> None:
        self._plain = PlainText(model.header.markers)
        self._vocabulary = model.header.vocabulary_tokens
        self._server = open_server(self._binding, self._params(context_tokens), model.path)

    def _params(self, context_tokens: int) -> Any:
        params = self._binding.CommonParams()
        params.n_parallel = self._slots
        params.n_ctx = context_tokens * self._slots
        params.n_batch = params.n_ubatch = max(_BATCH_TOKENS, self._slots)
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = compute_threads(self._spec.threads)
        params.verbosity = _ERRORS_ONLY
        params.fit_params = False
        params.n_threads_http = 1
        params.ui = params.endpoint_slots = False
        params.endpoint_metrics = True
        # Nothing of one request may be left for the next: no prompt cache, neither in slots nor beside them.
        params.cache_prompt = params.cache_idle_slots = False
        params.cache_ram_mib = 0
        params.slot_prompt_similarity = 0.0
        # All text is content: an answer can be continued only if nothing of it was put elsewhere.
        params.reasoning_format = self._binding.common_reasoning_format.COMMON_REASONING_FORMAT_NONE
        return params

    def _answer(self, asked: LlamaRequest, sink: PieceSink) -> None:
        """Run one request; called in a lane's thread, which the binding keeps until the answer ends."""
        server = self._server
        if server is None:
            raise EngineUnavailable("the engine was not started")
        reader = AnswerReader(sink, asked)
        try:
            if asked.conversation.prompt:
                server.handle_completions(completion_body(asked), reader.take)
            else:
                server.handle_chat_completions(chat_body(asked), reader.take)
        except (ValueError, RuntimeError) as e:  # only while it reads the messages and applies the template
            raise RequestRefused("invalid_messages", f"the model's chat template refuses these messages: {e}") from e
        reader.check_complete()
