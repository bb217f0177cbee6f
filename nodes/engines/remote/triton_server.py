"""What a Triton server is asked and says, by whatever protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import msgspec
from msgspec import UNSET, Struct, UnsetType

from nodes.engines.remote.remote_engine import RemoteServer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from nodes.engines.remote.api_key import ApiKey

TEXT_IN: Final = "text_input"
TEXT_OUT: Final = "text_output"
READY: Final = frozenset({"READY", ""})
"""How the index says that a model can be asked."""


class Tensor(Struct, frozen=True):
    """An input or output of a model."""

    name: str
    datatype: str = ""
    shape: tuple[int, ...] = ()


class TritonModel(Struct, frozen=True):
    """What a model takes and gives."""

    name: str = ""
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()

    @property
    def writes_text(self) -> bool:
        """Whether it is a model of texts."""
        return self.takes(TEXT_IN) and any(tensor.name == TEXT_OUT for tensor in self.outputs)

    def takes(self, name: str) -> bool:
        """Whether it has such an input."""
        return any(tensor.name == name for tensor in self.inputs)


class Wishes(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The names that the backends of vLLM and TensorRT-LLM share."""

    stream: bool | UnsetType = UNSET
    max_tokens: int | UnsetType = UNSET
    temperature: float | UnsetType = UNSET
    top_p: float | UnsetType = UNSET
    seed: int | UnsetType = UNSET


class Told(Struct, frozen=True):
    """One wish, and whether the model has an input for it."""

    name: str
    value: float
    """Or a bool, or an int."""
    is_input: bool


def told(model: TritonModel, wishes: Wishes) -> tuple[Told, ...]:
    """Say how a model is told its wishes.

    TensorRT-LLM takes them as inputs beside the text, and refuses those that it does not know; vLLM takes them as
    parameters of the request.
    """
    all_of_them = tuple(
        Told(name=name, value=value, is_input=model.takes(name)) for name, value in msgspec.to_builtins(wishes).items()
    )
    if model.takes("max_tokens"):
        return tuple(wish for wish in all_of_them if wish.is_input)
    return all_of_them


class TritonServer(RemoteServer, Protocol):
    """One Triton server. All raise ``EngineError`` where it does not answer, or refuses."""

    @property
    def key(self) -> ApiKey:
        """The key that it is sent."""
        ...

    async def check_ready(self, model: str) -> None:
        """Return if the model can be asked."""
        ...

    async def models(self) -> list[str]:
        """List the models that can be asked; the index may be closed."""
        ...

    async def about(self, model: str) -> TritonModel:
        """Say what a model takes and gives."""
        ...

    def texts(self, model: TritonModel, prompt: str, wishes: Wishes) -> AsyncGenerator[str, None]:
        """Yield the pieces of one answer. Closing it closes the connection."""
        ...
