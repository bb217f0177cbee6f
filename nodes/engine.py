"""The one interface that every engine has, and the values that go in and out of it.

An engine holds one model in this process. It knows nothing of the mesh: no task ids, no counters, no charging.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

from msgspec import Meta, Struct

from nodes.personal_data.spec import RedactionSpec
from streams.devices.replica import Ability
from streams.tasks.answer_parts import TokenLogprob, ToolCallPiece
from streams.tasks.chat import FinishReason, Message, Sampling, Usage
from streams.tasks.placing import Redaction
from streams.tasks.tools import OutputFormat, Tools

if TYPE_CHECKING:
    from streams.devices.replica import Replica

EngineName = Literal["xllamacpp", "llama-cpp-python", "vllm", "openai", "triton", "litellm", "synthetic"]

SyntheticKind = Literal["continues", "replays", "varies"]
"""How the synthetic engine joins a text that another node began.

``continues``: it goes on from the text. ``replays``: it writes every answer from its beginning, the same each time.
``varies``: from its beginning, and never the same twice."""

TritonPrompt = Literal["chatml", "plain"]
"""How a conversation becomes a prompt for Triton, which knows no chat template: ChatML, or names and colons."""

DEFAULT_MODEL = "smollm2-135m-instruct"
"""The small model that comes with ``make install``."""


class RemoteSpec(Struct, frozen=True, kw_only=True):
    """The server behind an engine that asks one over HTTP. Its key is read from where it lies and is not kept here."""

    url: str = ""
    key_file: Path | None = None
    key_variable: str | None = None
    patience_s: Annotated[float, Meta(gt=0)] = 120.0
    """Longest silence of a server that has been asked."""


class VllmSpec(Struct, frozen=True, kw_only=True):
    """How to run vLLM."""

    program: Path = Path(".venvs/vllm/bin/vllm")
    """As ``make vllm`` installs it."""
    tensor_parallel: Annotated[int, Meta(ge=1, le=64)] = 1
    """Over so many GPUs each layer is split."""
    pipeline_parallel: Annotated[int, Meta(ge=1, le=64)] = 1
    """Over so many the layers are dealt out."""
    prefix_cache: bool = False
    """Whether it remembers beginnings of prompts, whoever sent them."""
    options: tuple[str, ...] = ()
    """Further arguments."""


class EngineSpec(Struct, frozen=True, kw_only=True):
    """Which engine to open and with what."""

    engine: EngineName = "xllamacpp"
    model: str = DEFAULT_MODEL
    """Id of a built-in model, or path of a GGUF file. The synthetic engine has no model and ignores it."""
    model_id: str | None = None
    """Id under which the mesh knows the model; by default made from the file name."""
    slots: Annotated[int, Meta(ge=1, le=256)] | None = None
    """Requests at once; ``None``: what suits the engine."""
    context_tokens: Annotated[int, Meta(ge=128)] = 2048
    """Tokens that prompt and answer of one request may fill together; never more than the model was made for."""
    threads: Annotated[int, Meta(ge=1, le=512)] | None = None
    """``None``: one less than this process may use, because compute threads that compete collapse to a tenth."""
    token_delay_ms: Annotated[float, Meta(ge=0)] = 0.0
    """Pause before each token of the synthetic engine."""
    synthetic: SyntheticKind = "continues"
    remote: RemoteSpec = RemoteSpec()
    vllm: VllmSpec = VllmSpec()
    triton_prompt: TritonPrompt = "chatml"
    cloud_config: Path | None = None
    """File with the models and providers of the engine litellm, in which ``model`` is looked up."""
    redaction: RedactionSpec = RedactionSpec()
    """What the engine litellm keeps from them."""
    without: tuple[Ability, ...] = ()
    """What the engine is not to do, even where it could; it is not announced then."""
    poison: str | None = None
    """A text that kills the process when the synthetic engine is asked it, as a prompt that an engine crashes on."""


class Generate(Struct, frozen=True, kw_only=True):
    """One request to an engine: ``messages`` to answer, or a raw ``prompt`` to go on with as it stands.

    ``prefix`` is text of the answer that was published before; the engine goes on right behind it and never repeats it.
    A trailing assistant message is continued in the same way. ``sampling.max_tokens`` counts new tokens only: whoever
    continues an answer subtracts what was published.
    """

    messages: tuple[Message, ...] = ()
    prompt: str = ""
    sampling: Sampling = Sampling()
    prefix: str = ""
    tools: Tools | None = None
    format: OutputFormat | None = None
    redaction: Redaction | None = None
    """What a provider outside is not to see, where whoever asks has said so."""


class Piece(Struct, frozen=True, kw_only=True):
    """What a step of generation added: whole characters, never a part of a stop string.

    The last piece of an answer, and no other, has ``finish_reason`` and ``usage``; its text may be empty. The
    ``tokens`` of all pieces add up to ``usage.completion_tokens``. The usage counts this request alone: with a prefix,
    the prefix is part of the prompt.
    """

    text: str
    tokens: int = 1
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    tool_calls: tuple[ToolCallPiece, ...] = ()
    """Behind ``text``: what the answer's calls have grown by."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """Of the tokens in ``text``, where they were asked for."""
    prompt_tokens: int | None = None
    """In the first piece, where the engine knows already how long the prompt is; it counts as in ``usage``."""


class EngineLoad(Struct, frozen=True, kw_only=True):
    """Requests inside the engine at this moment."""

    running: int
    """Those that hold a slot, cancelled ones included until the engine has really let go of them."""
    waiting: int
    """Those that were accepted while every slot was taken."""
    cache_used: float | None = None
    """The part of its memory for attention that is taken, 0 to 1, where it tells."""
    away: str | None = None
    """Why it can do nothing for now, where what it asks outside of this process is not there; it looks whether that
    comes back."""


class Loading(Struct, frozen=True, kw_only=True):
    """How far the start of an engine is."""

    stage: Literal["fetching", "reading", "loading", "measuring", "ready"]
    fraction: float
    """Of the whole start, 0 to 1. Not every binding tells how far it is inside a stage."""


OnLoading = Callable[[Loading], None]
"""Called in the thread of the event loop."""


class Engine(Protocol):
    """One loaded model.

    Raises ``EngineUnavailable`` from `start`; ``RequestRefused``, ``EngineUnavailable``, ``EngineError`` or, with a
    prefix, ``CannotContinue`` from the iteration of `generate`, and nothing else from either.
    """

    async def start(self) -> Replica:
        """Load the model, generate a little to measure it, and say what it is."""
        ...

    def generate(self, request: Generate) -> AsyncGenerator[Piece, None]:
        """Stream one answer; several may run at once, those above the slots wait in order.

        ``aclose()`` cancels: when it returns the engine works on this request no more, its slot is free. While tokens
        come that takes one step of the engine, while a prompt is read the rest of its current batch.
        """
        ...

    def can_continue(self, request: Generate) -> bool:
        """Say whether it can go on from ``request.prefix``, under everything else that the request demands.

        Where the output is constrained, that takes an engine that leads the prefix through the constraint before it
        samples. One that says no is asked for the whole answer again instead (``nodes.attempts.continuation.Replay``).
        ``Replica.continues`` is the same for a request without constraints.
        """
        ...

    def load(self) -> EngineLoad:
        """Count the requests inside; cheap enough to ask at any time."""
        ...

    async def stop(self) -> None:
        """End every request with ``EngineUnavailable`` and free the memory; harmless if called again."""
        ...
