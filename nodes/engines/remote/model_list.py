"""What a server says of its models, in the words of several servers, and the one of them that a node asks for."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import Struct

from nodes.engine import DEFAULT_MODEL
from nodes.engines.llama.plain_text import markers_of
from nodes.engines.remote.failures import NotServed
from nodes.errors import EngineAway, EngineError, EngineUnavailable
from nodes.models.file import model_id_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nodes.engines.remote.chat_wire import Family
    from nodes.engines.remote.http_server import HttpServer

log = logging.getLogger(__name__)

_SHOWN: Final = 12
"""So many names of models stand in an error at most."""


class _Meta(Struct, frozen=True):
    """llama-server's."""

    n_ctx: int | None = None
    n_params: int | None = None
    ftype: str | None = None


class ListedModel(Struct, frozen=True):
    """One entry of ``GET /v1/models``; each context has the name that one kind of server gives it."""

    id: str
    owned_by: str | None = None
    meta: _Meta | None = None
    max_model_len: int | None = None
    """vLLM's and SGLang's."""
    context_tokens: int | None = None
    """An ig3 mesh's."""
    context_length: int | None = None
    context_window: int | None = None
    quantisation: str | None = None

    @property
    def context(self) -> int | None:
        """Tokens that prompt and answer may fill together, where the server tells."""
        own = self.meta.n_ctx if self.meta is not None else None
        told = (own, self.max_model_len, self.context_tokens, self.context_length, self.context_window)
        return next((tokens for tokens in told if tokens), None)

    @property
    def family(self) -> Family:
        """Which additions to OpenAI's API the server may know."""
        return "llama.cpp" if self.owned_by == "llamacpp" else "vllm" if self.owned_by == "vllm" else "other"

    @property
    def public_id(self) -> str:
        """What to call it on the mesh: the name of a file says where it lies on somebody's disk."""
        is_file = self.id.endswith(".gguf") or self.id.startswith(("/", "~", "./"))
        return model_id_of(Path(self.id)) if is_file else self.id


class _List(Struct, frozen=True):
    data: list[ListedModel] = []


async def listed_models(server: HttpServer) -> tuple[ListedModel, ...]:
    """Ask which models there are.

    Raises:
        EngineError: the server does not say.
    """
    return tuple((await server.get(f"{server.api}/models", _List)).data)


def chosen(models: Sequence[ListedModel], wanted: str) -> ListedModel:
    """Find the model to ask for; the name of the built-in one counts as none given.

    Raises:
        EngineUnavailable: there is no such model, or several and none was named.
    """
    named = next((model for model in models if wanted in (model.id, model.public_id)), None)
    if named is not None:
        return named
    if wanted != DEFAULT_MODEL:
        raise EngineUnavailable(f"the server has no model {wanted!r}: {_names(models)}")
    if len(models) != 1:
        raise EngineUnavailable(f"name the model to ask the server for by --model: {_names(models)}")
    return models[0]


def still_there(models: Sequence[ListedModel], model: str) -> None:
    """Raise where a model is no longer listed.

    Raises:
        EngineAway: it is not.
    """
    if all(listed.id != model for listed in models):
        raise EngineAway(f"the server has no model {model!r} any more: {_names(models)}")


class Choice(NamedTuple):
    """The model to ask for, and whether the server lists its models at all."""

    model: ListedModel
    is_listed: bool


async def choose(server: HttpServer, wanted: str | None) -> Choice:
    """Find the model to ask for; one that was named is believed where the server has no list.

    Raises:
        EngineError: the server cannot be asked, or it must be said which model.
    """
    named = wanted or DEFAULT_MODEL
    try:
        models = await listed_models(server)
    except NotServed:
        if named == DEFAULT_MODEL:
            raise EngineUnavailable("the server has no list of models: name the one to ask for by --model") from None
        # The first question will show whether it has that.
        return Choice(ListedModel(id=named), is_listed=False)
    return Choice(chosen(models, named), is_listed=True)


async def look(server: HttpServer, choice: Choice) -> None:
    """Look whether the server still has the model.

    Raises:
        EngineError: it has not, or cannot be asked.
    """
    if choice.is_listed:
        still_there(await listed_models(server), choice.model.id)
    else:
        await server.reach()


def _names(models: Sequence[ListedModel]) -> str:
    shown = ", ".join(model.id for model in models[:_SHOWN])
    more = f" and {len(models) - _SHOWN} more" if len(models) > _SHOWN else ""
    return f"it has {shown}{more}" if models else "it has none"


class ServerFacts(Struct, frozen=True, kw_only=True):
    """What else a server says of itself, where it does."""

    context_tokens: int | None = None
    slots: int | None = None
    markers: tuple[str, ...] = ()
    """Texts that its template takes for its own, which a message must not hold."""


class _Generation(Struct, frozen=True):
    n_ctx: int | None = None


class _Props(Struct, frozen=True):
    """llama-server's ``/props``."""

    total_slots: int | None = None
    chat_template: str = ""
    bos_token: str = ""
    eos_token: str = ""
    default_generation_settings: _Generation = _Generation()


class _Loaded(Struct, frozen=True):
    model: str = ""
    id: str = ""
    context_length: int | None = None
    loaded_context_length: int | None = None
    max_context_length: int | None = None


class _OllamaLoaded(Struct, frozen=True):
    models: list[_Loaded] = []


class _LmStudioModels(Struct, frozen=True):
    data: list[_Loaded] = []


async def facts_of(server: HttpServer, model: ListedModel) -> ServerFacts:
    """Ask what OpenAI's list of models does not say: llama-server, Ollama and LM Studio each have their own way."""
    if model.family == "llama.cpp":
        return await _llama_facts(server)
    if model.context is not None:
        return ServerFacts()
    for ask in (_ollama_context, _lm_studio_context):
        try:
            context = await ask(server, model.id)
        except EngineError:
            continue
        if context:
            return ServerFacts(context_tokens=context)
    return ServerFacts()


async def _llama_facts(server: HttpServer) -> ServerFacts:
    try:
        props = await server.get(f"{server.root}/props", _Props)
    except EngineError as error:
        log.info("the server does not show its properties: %s", error)
        return ServerFacts()
    markers = {*markers_of(props.chat_template), props.bos_token, props.eos_token} - {""}
    return ServerFacts(
        context_tokens=props.default_generation_settings.n_ctx,
        slots=props.total_slots,
        markers=tuple(sorted(markers)),
    )


async def _ollama_context(server: HttpServer, model: str) -> int | None:
    """Ollama tells what it has loaded; the first question has made it load the model."""
    loaded = await server.get(f"{server.root}/api/ps", _OllamaLoaded)
    return next((entry.context_length for entry in loaded.models if entry.model == model), None)


async def _lm_studio_context(server: HttpServer, model: str) -> int | None:
    known = await server.get(f"{server.root}/api/v0/models", _LmStudioModels)
    return next((e.loaded_context_length or e.max_context_length for e in known.data if e.id == model), None)
