"""A model behind any server that speaks OpenAI's chat completions.

text-generation-webui, llama-server, Ollama, LM Studio, vLLM, or the gateway of another ig3 mesh.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from nodes.engine import Loading
from nodes.engines.demands import demanded_bytes, is_constrained
from nodes.engines.llama.plain_text import PlainText
from nodes.engines.probe import measure
from nodes.engines.remote.ability_probe import abilities_of
from nodes.engines.remote.api_key import ApiKey
from nodes.engines.remote.chat_answer import ChatAnswer, chunks_of
from nodes.engines.remote.chat_probe import ChatProbe
from nodes.engines.remote.chat_wire import Dialect, chat_body, raw_body
from nodes.engines.remote.http_server import HttpServer
from nodes.engines.remote.model_list import ServerFacts, choose, facts_of, look
from nodes.engines.remote.raw_probe import raw_abilities_of
from nodes.engines.remote.remote_engine import RemoteEngine
from nodes.engines.remote.seats import Seats
from streams.devices.replica import Replica

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from nodes.engine import EngineSpec, Generate, OnLoading, Piece
    from nodes.engines.conversation import Conversation
    from nodes.engines.remote.model_list import Choice, ListedModel
    from streams.devices.replica import Ability

_ASKED: Final = 0.2
_PROBED: Final = 0.7


class OpenAiEngine(RemoteEngine):
    """Asks one model of one server."""

    def __init__(self, spec: EngineSpec, on_loading: OnLoading, *, key: ApiKey | None = None) -> None:
        """Prepare to ask the server of ``spec.remote``.

        Raises:
            EngineUnavailable: there is no usable URL, or its key cannot be read.
        """
        remote = spec.remote
        key = key or ApiKey(file=remote.key_file, variable=remote.key_variable)
        self._server = HttpServer(remote.url, key, patience_s=remote.patience_s)
        super().__init__(spec, on_loading, self._server)
        self._dialect = Dialect()
        self._choice: Choice | None = None
        self._behind_raw: tuple[Ability, ...] = ()

    def can_continue(self, request: Generate) -> bool:
        """Say what the server has shown at the start; nobody knows of it under tools or a format."""
        if request.prompt:
            return True
        return self._dialect.continuing != "no" and not is_constrained(request)

    def _able(self, request: Generate) -> tuple[Ability, ...]:
        """What the server has shown, which may do less behind a raw prompt."""
        return self._behind_raw if request.prompt else self._abilities

    async def _asked(self, conversation: Conversation, request: Generate) -> AsyncGenerator[Piece, None]:
        """Ask the server, in its own way."""
        if conversation.prompt:
            path, body = "completions", raw_body(self._model, conversation, request, self._dialect)
        else:
            path, body = "chat/completions", chat_body(self._model, conversation, request, self._dialect)
        answer = ChatAnswer(
            conversation,
            request.sampling,
            self._dialect.counting,
            self._server.key,
            demanded_bytes=demanded_bytes(request),
        )
        async with self._server.post(f"{self._server.api}/{path}", body) as response:
            async for piece in answer.pieces(chunks_of(response)):
                yield piece

    async def _look(self) -> None:
        """Raise where the server cannot serve."""
        self._server.key.read()
        if self._choice is not None:
            await look(self._server, self._choice)

    async def _find_out(self) -> Replica:
        self._on_loading(Loading(stage="reading", fraction=0.0))
        self._choice = await choose(self._server, self._spec.model)
        model = self._choice.model
        self._model = model.id
        self._on_loading(Loading(stage="loading", fraction=_ASKED))
        probe = ChatProbe(self._server, model.id, model.family)
        self._dialect = await probe.dialect()
        able = await abilities_of(probe.pieces, self._spec.without)
        self._behind_raw = await raw_abilities_of(probe.raw_pieces, self._spec.without, able)
        self._abilities = (*able, "raw_prompt") if self._behind_raw else able
        facts = await self._facts(model)
        self._plain = PlainText(facts.markers)
        slots = self._spec.slots or facts.slots or await probe.at_once()
        self._seats = Seats(slots)
        self._on_loading(Loading(stage="measuring", fraction=_PROBED))
        speed = await measure(self)
        return replace(
            self._described(model, facts, slots),
            tokens_per_s=speed.tokens_per_s,
            prompt_tokens_per_s=speed.prompt_tokens_per_s,
        )

    async def _facts(self, model: ListedModel) -> ServerFacts:
        """What else is known of the model."""
        return await facts_of(self._server, model)

    def _described(self, model: ListedModel, facts: ServerFacts, slots: int) -> Replica:
        return Replica(
            model=self._spec.model_id or model.public_id,
            engine="openai",
            context_tokens=facts.context_tokens or model.context or self._spec.context_tokens,
            slots=slots,
            quantisation=model.meta.ftype if model.meta is not None else model.quantisation,
            parameters=model.meta.n_params if model.meta is not None else None,
            continues=self._dialect.continuing != "no",
            abilities=self._abilities,
        )
