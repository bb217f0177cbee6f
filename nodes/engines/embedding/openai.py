"""An embedding model behind any server that speaks OpenAI's API: llama-server, vLLM, Ollama, LM Studio, another ig3."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar, Final

from msgspec.structs import replace

from nodes.engines.embedding.batches import in_batches
from nodes.engines.embedding.endpoint import EmbeddingEndpoint
from nodes.engines.embedding.texts import PROBE, check
from nodes.engines.llama.plain_text import NO_MARKERS, PlainText
from nodes.engines.remote.api_key import ApiKey
from nodes.engines.remote.http_server import HttpServer
from nodes.engines.remote.model_list import ServerFacts, choose, facts_of, look
from nodes.engines.remote.presence import Presence
from nodes.engines.remote.seats import Seats
from nodes.errors import EngineError, EngineUnavailable, RequestRefused
from streams.devices.replica import Replica

if TYPE_CHECKING:
    from nodes.embedding import Embed, Embedded, EmbeddingEngineName, EmbeddingSpec
    from nodes.engine import EngineLoad
    from nodes.engines.remote.model_list import Choice

_SLOTS: Final = 4


class OpenAiEmbeddingEngine:
    """Asks one model of one server."""

    _name: ClassVar[EmbeddingEngineName] = "openai"

    def __init__(self, spec: EmbeddingSpec, *, key: ApiKey | None = None) -> None:
        """Prepare to ask the server of ``spec.remote``.

        Raises:
            EngineUnavailable: there is no usable URL, or its key cannot be read.
        """
        self._spec = spec
        remote = spec.remote
        key = key or ApiKey(file=remote.key_file, variable=remote.key_variable)
        self._server = HttpServer(remote.url, key, patience_s=remote.patience_s)
        self._presence = Presence(f"the server at {self._server.root}", self._look)
        self._seats = Seats(spec.slots or _SLOTS)
        self._choice: Choice | None = None
        self._endpoint: EmbeddingEndpoint | None = None
        self._plain = NO_MARKERS

    async def start(self) -> Replica:
        """Ask the server what it has, find out what that makes of texts, and measure it."""
        self._server.open()
        try:
            replica = await self._find_out()
        except BaseException:
            await self.stop()
            raise
        self._presence.start()
        return replica

    async def embed(self, request: Embed) -> Embedded:
        """Turn texts into vectors; see `nodes.embedding.EmbeddingEngine`."""
        check(request)
        async with self._seats.taken():
            endpoint = self._endpoint
            if endpoint is None:
                raise EngineUnavailable("the engine was stopped or not started yet")
            try:
                return await in_batches(tuple(map(self._plain, request.texts)), endpoint.ask)
            except RequestRefused:
                raise
            except EngineError:
                self._seats.check()
                self._presence.doubt()
                raise

    def load(self) -> EngineLoad:
        """Count the requests that are with the server, and say whether that is there."""
        return replace(self._seats.load(), away=self._presence.away)

    async def stop(self) -> None:
        """Cut every connection."""
        self._seats.stopped = True
        self._endpoint = None
        await self._presence.stop()
        await self._server.close()

    async def _look(self) -> None:
        """Raise where the server cannot serve."""
        self._server.key.read()
        if self._choice is not None:
            await look(self._server, self._choice)

    async def _find_out(self) -> Replica:
        choice = self._choice = await choose(self._server, self._spec.model)
        endpoint = EmbeddingEndpoint(self._server, choice.model.id)
        await endpoint.probe()
        facts = await self._facts(choice)
        self._plain = PlainText(facts.markers)
        slots = self._spec.slots or facts.slots or _SLOTS
        self._seats = Seats(slots)
        began = time.perf_counter()
        probed = await endpoint.ask((PROBE,))
        speed = probed.tokens / (time.perf_counter() - began)
        self._endpoint = endpoint
        model = choice.model
        return Replica(
            model=self._spec.model_id or model.public_id,
            engine=self._name,
            kind="embedding",
            dimensions=endpoint.dimensions,
            context_tokens=facts.context_tokens or model.context or self._spec.context_tokens,
            slots=slots,
            quantisation=model.meta.ftype if model.meta is not None else model.quantisation,
            parameters=model.meta.n_params if model.meta is not None else None,
            prompt_tokens_per_s=round(speed, 1),
            continues=False,
        )

    async def _facts(self, choice: Choice) -> ServerFacts:
        """What else is known of the model."""
        return await facts_of(self._server, choice.model)
