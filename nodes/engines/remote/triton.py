"""A text model behind NVIDIA Triton, over HTTP or gRPC.

Triton knows prompts and no conversations, so the prompt is written here, and going on from a text is a longer prompt.
Raw prompts it takes by nature. It counts no tokens and gives no reason for an end: a piece counts as one token.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from msgspec import UNSET
from msgspec.structs import replace

from nodes.engine import DEFAULT_MODEL, Loading
from nodes.engines.demands import announced, is_constrained
from nodes.engines.llama.plain_text import NO_MARKERS, PlainText
from nodes.engines.probe import measure
from nodes.engines.remote.api_key import ApiKey
from nodes.engines.remote.chat_answer import ChatAnswer
from nodes.engines.remote.chat_wire import chunk
from nodes.engines.remote.model_list import ListedModel, chosen
from nodes.engines.remote.remote_engine import RemoteEngine
from nodes.engines.remote.seats import Seats
from nodes.engines.remote.triton_http import TritonOverHttp
from nodes.engines.remote.triton_server import TEXT_IN, TEXT_OUT, TritonModel, Wishes
from nodes.errors import EngineError, EngineUnavailable
from streams.devices.replica import Replica

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from nodes.engine import EngineSpec, Generate, OnLoading, Piece, RemoteSpec, TritonPrompt
    from nodes.engines.conversation import Conversation
    from nodes.engines.remote.chat_wire import Chunk
    from nodes.engines.remote.triton_server import TritonServer
    from streams.tasks.chat import Sampling

_SLOTS: Final = 4
_GRPC: Final = ("grpc://", "grpcs://")
_CHATML: Final = ("<|im_start|>", "<|im_end|>")
_DEFAULT_TOKENS: Final = 512
"""Backends of Triton take no answer of unknown length."""


class TritonEngine(RemoteEngine):
    """Asks one model of one Triton server."""

    def __init__(self, spec: EngineSpec, on_loading: OnLoading) -> None:
        """Prepare to ask the server of ``spec.remote``.

        Raises:
            EngineUnavailable: there is no usable URL, its key cannot be read, or what gRPC needs is not installed.
        """
        self._triton = _server_of(spec.remote)
        super().__init__(spec, on_loading, self._triton)
        self._prompt: TritonPrompt = spec.triton_prompt
        self._plain = PlainText(_CHATML) if self._prompt == "chatml" else NO_MARKERS
        self._about = TritonModel()
        self._abilities = announced(("raw_prompt",), spec)

    def can_continue(self, request: Generate) -> bool:
        """Say yes, where nothing constrains the answer: the text so far is a part of the prompt."""
        return not is_constrained(request)

    async def _find_out(self) -> Replica:
        self._on_loading(Loading(stage="reading", fraction=0.0))
        model = await self._choose()
        self._model = model.id
        self._about = await self._triton.about(model.id)
        if not self._about.writes_text:
            raise EngineUnavailable(
                f"Triton's model {model.id!r} has no {TEXT_IN} and {TEXT_OUT}: it generates no text"
            )
        slots = self._spec.slots or _SLOTS
        self._seats = Seats(slots)
        self._on_loading(Loading(stage="measuring", fraction=0.5))
        speed = await measure(self)
        return Replica(
            model=self._spec.model_id or model.public_id,
            engine="triton",
            context_tokens=self._spec.context_tokens,
            slots=slots,
            tokens_per_s=speed.tokens_per_s,
            prompt_tokens_per_s=speed.prompt_tokens_per_s,
            abilities=self._abilities,
        )

    async def _look(self) -> None:
        self._triton.key.read()
        await self._triton.check_ready(self._model)

    async def _choose(self) -> ListedModel:
        """Take the one that was named, if it is ready; only without a name is the index asked, which may be closed."""
        if self._spec.model != DEFAULT_MODEL:
            await self._triton.check_ready(self._spec.model)
            return ListedModel(id=self._spec.model)
        try:
            models = await self._triton.models()
        except EngineError as error:
            raise EngineUnavailable(
                f"Triton does not list its models here ({error}): name the one to ask for by --model"
            ) from error
        return chosen([ListedModel(id=model) for model in models], self._spec.model)

    async def _asked(self, conversation: Conversation, request: Generate) -> AsyncGenerator[Piece, None]:
        sampling = request.sampling
        limit = sampling.max_tokens or _DEFAULT_TOKENS
        is_chatml = self._prompt == "chatml" and not conversation.prompt
        stops = (*sampling.stop, _CHATML[1]) if is_chatml else sampling.stop
        wanted = replace(sampling, max_tokens=limit, stop=stops)
        answer = ChatAnswer(conversation, wanted, "running", self._triton.key)
        templated = _chatml if is_chatml else _plain
        prompt = conversation.raw if conversation.prompt else templated(conversation)
        async with aclosing(self._triton.texts(self._about, prompt, _wishes(wanted))) as texts:
            async for piece in answer.pieces(_chunks(texts, limit)):
                yield piece


def _server_of(remote: RemoteSpec) -> TritonServer:
    key = ApiKey(file=remote.key_file, variable=remote.key_variable)
    if not remote.url.strip().startswith(_GRPC):
        return TritonOverHttp(remote.url, key, patience_s=remote.patience_s)
    try:
        from nodes.engines.remote.triton_grpc import TritonOverGrpc
    except ImportError as error:
        raise EngineUnavailable(f"{error}: `make extras EXTRAS=grpc` installs what grpc:// needs") from error
    return TritonOverGrpc(remote.url, key, patience_s=remote.patience_s)


def _wishes(sampling: Sampling) -> Wishes:
    return Wishes(
        stream=True,
        max_tokens=UNSET if sampling.max_tokens is None else sampling.max_tokens,
        temperature=UNSET if sampling.temperature is None else float(sampling.temperature),
        top_p=UNSET if sampling.top_p is None else float(sampling.top_p),
        seed=UNSET if sampling.seed is None else sampling.seed % 0x7FFF_FFFF,
    )


async def _chunks(texts: AsyncGenerator[str, None], limit: int) -> AsyncGenerator[Chunk, None]:
    count = 0
    async for text in texts:
        if text:
            count += 1
            yield chunk(text=text, finish_reason=None, tokens=None)
    if not count:
        raise EngineError("the server ended an answer without a word")
    # Nothing says why it ended: whoever wrote as many pieces as were asked for was cut off there.
    yield chunk(text="", finish_reason="length" if count >= limit else "stop", tokens=(0, count))


def _chatml(conversation: Conversation) -> str:
    start, end = _CHATML
    turns = "".join(f"{start}{turn.role}\n{turn.content}{end}\n" for turn in conversation.turns)
    return f"{turns}{start}assistant\n{conversation.begun}"


def _plain(conversation: Conversation) -> str:
    turns = "".join(f"{turn.role.capitalize()}: {turn.content}\n" for turn in conversation.turns)
    return f"{turns}Assistant: {conversation.begun}"
