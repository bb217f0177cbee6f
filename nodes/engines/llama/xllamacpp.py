"""llama.cpp by the binding ``xllamacpp``: llama-server's engine inside this process, with continuous batching.

It is the default engine, because it comes as a prebuilt wheel.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from nodes.engines.host import compute_threads
from nodes.engines.llama.in_process import LlamaInProcess
from nodes.engines.llama.server_dialect import AnswerReader, chat_body, completion_body
from nodes.engines.llama.xllamacpp_library import has_gpu, import_binding, open_server
from nodes.errors import EngineUnavailable, RequestRefused

if TYPE_CHECKING:
    from nodes.engine import EngineSpec, OnLoading
    from nodes.engines.lanes import PieceSink
    from nodes.engines.llama.request import LlamaRequest
    from nodes.models.file import ModelFile

_BATCH_TOKENS: Final = 60
"""Prompt tokens per step. All slots wait for a step, and a prompt can be cancelled between two: with the binding's own
2048 a long prompt stopped every other answer for half a minute, with 64 for a second, at the same speed. From 64 on
llama.cpp computes attention in another way, with other results (see ``llama_context``)."""

_ERRORS_ONLY: Final = 1
_BUSY: Final = re.compile(rb"^llamacpp:requests_(?:processing|deferred) (\d+)", re.MULTILINE)


class XllamacppEngine(LlamaInProcess):
    """One model in llama-server's engine.

    While the model loads the binding holds the interpreter, so the event loop stands still for that time.
    """

    name = "xllamacpp"

    def __init__(self, spec: EngineSpec, on_loading: OnLoading) -> None:
        super().__init__(spec, on_loading)
        self._binding = import_binding()
        self._server: Any = None

    def busy_slots(self) -> int:
        """Ask the C++ engine itself how many requests it works on, beside our own count in `load`."""
        if self._server is None:
            return 0
        metrics: bytes | str = self._server.handle_metrics()
        return sum(int(n) for n in _BUSY.findall(metrics if isinstance(metrics, bytes) else metrics.encode()))

    def _is_on_gpu(self) -> bool:
        return has_gpu(self._binding)

    def _open(self, file: ModelFile, context_tokens: int) -> None:
        self._server = open_server(self._binding, self._params(context_tokens), file.path)

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

    async def _unload(self) -> None:
        self._server = None  # its destructor ends the C++ threads
