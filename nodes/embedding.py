"""The interface of engines that turn texts into vectors, beside those that write answers (``nodes.engine``)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, Protocol, runtime_checkable

from msgspec import Meta, Struct

from nodes.engine import Engine, RemoteSpec, VllmSpec
from nodes.personal_data.spec import RedactionSpec
from streams.tasks import vectors
from streams.tasks.chat import Usage
from streams.tasks.placing import Redaction

if TYPE_CHECKING:
    from nodes.engine import EngineLoad
    from streams.devices.replica import Replica

EmbeddingEngineName = Literal["minilm", "xllamacpp", "openai", "vllm", "litellm"]

MOST_TEXTS: Final = vectors.MOST_TEXTS
"""In one request."""


class EmbeddingSpec(Struct, frozen=True, kw_only=True):
    """Which engine to open and with what."""

    engine: EmbeddingEngineName = "minilm"
    model: str | None = None
    """Path of a GGUF file, a server's name for a model, vLLM's folder, or an id in the cloud file; minilm has its
    own."""
    model_id: str | None = None
    """Id under which the mesh knows the model; by default the model's own name."""
    slots: Annotated[int, Meta(ge=1, le=256)] | None = None
    """Requests at once; ``None``: what suits the engine."""
    threads: Annotated[int, Meta(ge=1, le=512)] | None = None
    """Threads that compute; ``None``: what suits the engine (minilm: one for each slot)."""
    shortens: bool = False
    """Whether the model was trained so that its vectors may be cut (``Replica.shortens``)."""
    context_tokens: Annotated[int, Meta(ge=1)] = 2048
    """Tokens that one text may have; never more than the model was made for, and what a server says goes before."""
    remote: RemoteSpec = RemoteSpec()
    vllm: VllmSpec = VllmSpec()
    cloud_config: Path | None = None
    """File with the models and providers of the engine litellm."""
    redaction: RedactionSpec = RedactionSpec()
    """What the engine litellm keeps from them."""


class Embed(Struct, frozen=True, kw_only=True):
    """One request: texts, none of them empty, at most `MOST_TEXTS`."""

    texts: tuple[str, ...]
    redaction: Redaction | None = None
    """What a provider outside is not to see, where whoever asks has said so."""


class Embedded(Struct, frozen=True, kw_only=True):
    """What became of them: a vector for each text, in their order."""

    vectors: tuple[bytes, ...]
    """32-bit floats, the least byte first, as many as ``Replica.dimensions`` says; the length of each vector is 1."""
    usage: Usage
    """Tokens of all texts, with those that the model itself puts around each; none were written."""


@runtime_checkable
class EmbeddingEngine(Protocol):
    """One loaded model.

    Raises ``EngineUnavailable`` from `start`; ``RequestRefused``, ``EngineUnavailable`` or ``EngineError`` from
    `embed`, and nothing else from either.
    """

    async def start(self) -> Replica:
        """Load the model, embed a little to measure it, and say what it is: of the kind ``embedding``."""
        ...

    async def embed(self, request: Embed) -> Embedded:
        """Turn texts into vectors; several requests may run at once, those above the slots wait in order.

        The vector of a text is the same whatever stands beside it, to within a server's rounding. Cancelling the call
        ends the work within one text, and the connection to a server at once; when it returns the slot is free.
        """
        ...

    def load(self) -> EngineLoad:
        """Count the requests inside; cheap enough to ask at any time."""
        ...

    async def stop(self) -> None:
        """End every request with ``EngineUnavailable`` and free the memory; harmless if called again."""
        ...


AnyEngine = Engine | EmbeddingEngine
"""What a node may have loaded."""
