"""A text model behind NVIDIA Triton's HTTP API: ``generate_stream`` of its generate extension.

Triton knows prompts and no conversations, so the prompt is written here, and going on from a text is a longer prompt.
It counts no tokens and gives no reason for an end: a piece counts as one token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from nodes.engine import DEFAULT_MODEL, Loading
from nodes.engines.demands import is_constrained
from nodes.engines.plain_text import NO_MARKERS, PlainText
from nodes.engines.probe import measure
from nodes.engines.remote.chat_answer import ChatAnswer
from nodes.engines.remote.chat_wire import chunk
from nodes.engines.remote.http_server import whole_body
from nodes.engines.remote.model_list import ListedModel, chosen
from nodes.engines.remote.openai import OpenAiEngine
from nodes.engines.remote.seats import Seats
from nodes.engines.remote.sse import data_lines
from nodes.errors import EngineAway, EngineError, EngineUnavailable
from streams.replica import Replica

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aiohttp import ClientResponse

    from nodes.engine import EngineSpec, Generate, OnLoading, Piece, TritonPrompt
    from nodes.engines.conversation import Conversation
    from nodes.engines.remote.chat_wire import Chunk
    from streams.chat import Sampling

_SLOTS: Final = 4
_READY: Final = frozenset({"READY", ""})
_TEXT_IN: Final = "text_input"
_TEXT_OUT: Final = "text_output"
_CHATML: Final = ("<|im_start|>", "<|im_end|>")
_DEFAULT_TOKENS: Final = 512
"""Backends of Triton take no answer of unknown length."""


class _Indexed(Struct, frozen=True):
    name: str
    state: str = ""


class _Tensor(Struct, frozen=True):
    name: str


class _Metadata(Struct, frozen=True):
    inputs: list[_Tensor] = []
    outputs: list[_Tensor] = []

    def has(self, name: str) -> bool:
        return any(tensor.name == name for tensor in (*self.inputs, *self.outputs))


class _Wishes(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The names that the backends of vLLM and TensorRT-LLM share."""

    stream: bool | UnsetType = UNSET
    max_tokens: int | UnsetType = UNSET
    temperature: float | UnsetType = UNSET
    top_p: float | UnsetType = UNSET
    seed: int | UnsetType = UNSET


class _Body(Struct, frozen=True, kw_only=True, omit_defaults=True):
    text_input: str
    parameters: _Wishes | UnsetType = UNSET


class _Step(Struct, frozen=True):
    text_output: str | list[str] = ""
    error: str | None = None

    @property
    def text(self) -> str:
        return self.text_output if isinstance(self.text_output, str) else "".join(self.text_output)


class TritonEngine(OpenAiEngine):
    """Asks one model of one Triton server."""

    def __init__(self, spec: EngineSpec, on_loading: OnLoading) -> None:
        """Prepare to ask the server of ``spec.remote``.

        Raises:
            EngineUnavailable: there is no usable URL, or its key cannot be read.
        """
        super().__init__(spec, on_loading)
        self._prompt: TritonPrompt = spec.triton_prompt
        self._plain = PlainText(_CHATML) if self._prompt == "chatml" else NO_MARKERS
        self._takes: frozenset[str] = frozenset()

    def can_continue(self, request: Generate) -> bool:
        """Say yes, where nothing constrains the answer: the text so far is a part of the prompt."""
        return not is_constrained(request)

    async def _find_out(self) -> Replica:
        self._on_loading(Loading(stage="reading", fraction=0.0))
        model = await self._choose()
        self._model = model.id
        about = await self._server.get(f"{self._server.root}/v2/models/{model.id}", _Metadata)
        if not (about.has(_TEXT_IN) and about.has(_TEXT_OUT)):
            raise EngineUnavailable(
                f"Triton's model {model.id!r} has no {_TEXT_IN} and {_TEXT_OUT}: it generates no text"
            )
        self._takes = frozenset(tensor.name for tensor in about.inputs)
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
        )

    async def _look(self) -> None:
        self._server.key.read()
        await self._server.get_text(f"{self._server.root}/v2/models/{self._model}/ready")

    async def _choose(self) -> ListedModel:
        """Take the one that was named, if it is ready; only without a name is the index asked, which may be closed."""
        if self._spec.model != DEFAULT_MODEL:
            await self._server.get_text(f"{self._server.root}/v2/models/{self._spec.model}/ready")
            return ListedModel(id=self._spec.model)
        try:
            async with self._server.post(f"{self._server.root}/v2/repository/index", b"{}") as response:
                index = msgspec.json.decode(await whole_body(response), type=list[_Indexed])
        except (EngineAway, msgspec.DecodeError):
            raise EngineUnavailable(
                "Triton does not list its models here: name the one to ask for by --model"
            ) from None
        return chosen([ListedModel(id=model.name) for model in index if model.state in _READY], self._spec.model)

    async def _asked(self, conversation: Conversation, request: Generate) -> AsyncGenerator[Piece, None]:
        sampling = request.sampling
        limit = sampling.max_tokens or _DEFAULT_TOKENS
        stops = (*sampling.stop, _CHATML[1]) if self._prompt == "chatml" else sampling.stop
        wanted = replace(sampling, max_tokens=limit, stop=stops)
        answer = ChatAnswer(conversation, wanted, "running", self._server.key)
        url = f"{self._server.root}/v2/models/{self._model}/generate_stream"
        async with self._server.post(url, self._body(conversation, wanted)) as response:
            async for piece in answer.pieces(_chunks(response, limit)):
                yield piece

    def _body(self, conversation: Conversation, sampling: Sampling) -> bytes:
        wishes = _Wishes(
            stream=True,
            max_tokens=UNSET if sampling.max_tokens is None else sampling.max_tokens,
            temperature=UNSET if sampling.temperature is None else sampling.temperature,
            top_p=UNSET if sampling.top_p is None else sampling.top_p,
            seed=UNSET if sampling.seed is None else sampling.seed % 0x7FFF_FFFF,
        )
        prompt = _chatml(conversation) if self._prompt == "chatml" else _plain(conversation)
        if "max_tokens" not in self._takes:
            return msgspec.json.encode(_Body(text_input=prompt, parameters=wishes))
        # TensorRT-LLM takes them as inputs beside the text; it refuses those that it does not know.
        told = {name: value for name, value in msgspec.to_builtins(wishes).items() if name in self._takes}
        return msgspec.json.encode({_TEXT_IN: prompt, **told})


async def _chunks(response: ClientResponse, limit: int) -> AsyncGenerator[Chunk, None]:
    count = 0
    async for data in data_lines(response.content):
        try:
            step = msgspec.json.decode(data, type=_Step)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise EngineError(f"the server sent what cannot be read: {error}") from error
        if step.error is not None:
            raise EngineError(f"Triton failed: {step.error[:300]}")
        if step.text:
            count += 1
            yield chunk(text=step.text, finish_reason=None, tokens=None)
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
