"""What a node and the process of its engine say to each other, over a pair of stream sockets."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import msgspec
from msgspec import Struct

from nodes.engine import EngineSpec, Generate, Loading, Piece
from nodes.engines.llama.model import Offload
from nodes.errors import RefusalCode
from streams.devices.replica import Ability, Replica

if TYPE_CHECKING:
    import asyncio


class _Said(Struct, frozen=True, kw_only=True, tag=True):
    """Root of both directions."""


class Load(_Said, frozen=True, kw_only=True):
    """Load a model over the servers; of the node's settings it has what the engine needs of them, and no more."""

    model: str
    model_id: str | None
    context_tokens: int
    threads: int | None
    offload: Offload
    without: tuple[Ability, ...] = ()

    @staticmethod
    def of(spec: EngineSpec, offload: Offload) -> Load:
        """Take from ``spec`` what the engine needs."""
        return Load(
            model=spec.model,
            model_id=spec.model_id,
            context_tokens=spec.context_tokens,
            threads=spec.threads,
            offload=offload,
            without=spec.without,
        )

    @property
    def spec(self) -> EngineSpec:
        """The same as the engine is told it."""
        return EngineSpec(
            engine="llama-cpp-python",
            model=self.model,
            model_id=self.model_id,
            context_tokens=self.context_tokens,
            threads=self.threads,
            # Each further one would keep a context of its own on every member.
            slots=1,
            without=self.without,
        )


class Answer(_Said, frozen=True, kw_only=True):
    """Generate; each request has a number of its own."""

    number: int
    request: Generate


class Drop(_Said, frozen=True, kw_only=True):
    """Nobody wants this answer any more."""

    number: int


class Progress(_Said, frozen=True, kw_only=True):
    """How far loading is."""

    loading: Loading


class Loaded(_Said, frozen=True, kw_only=True):
    """The model is there."""

    replica: Replica


class Wrote(_Said, frozen=True, kw_only=True):
    """A piece of an answer."""

    number: int
    piece: Piece


class Over(_Said, frozen=True, kw_only=True):
    """An answer has ended, and its slot is free; or, as number 0, loading has failed."""

    number: int
    failure: Literal["", "refused", "unavailable", "failed"] = ""
    code: RefusalCode = "invalid_messages"
    message: str = ""


ToEngine = Load | Answer | Drop
FromEngine = Progress | Loaded | Wrote | Over

_LENGTH: Final = struct.Struct(">I")
_T = TypeVar("_T")


def frame(message: ToEngine | FromEngine) -> bytes:
    """Write a message with its length before it."""
    body = msgspec.msgpack.encode(message)
    return _LENGTH.pack(len(body)) + body


async def read_frame(reader: asyncio.StreamReader, decoder: msgspec.msgpack.Decoder[_T]) -> _T:
    """Read the next message.

    Raises:
        EOFError: if the other side is gone.
        msgspec.DecodeError: if it is none.
    """
    (size,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    return decoder.decode(await reader.readexactly(size))
