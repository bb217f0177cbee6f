"""Frames to bytes and back, in the two formats that a client may choose by subprotocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from aiohttp import WSMsgType

from gateway.bridge.frames import ClientFrame
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.bridge.frames import FromGateway


class UnreadableFrame(GatewayError, ValueError):
    """A frame from a client is not one of the protocol; the message names the field."""


class Format(NamedTuple):
    """How frames look on one connection."""

    subprotocol: str
    kind: WSMsgType
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


JSON: Final = Format(
    "ig3.v1.json",
    WSMsgType.TEXT,
    msgspec.json.Encoder().encode,
    msgspec.json.Decoder(ClientFrame).decode,
)
MSGPACK: Final = Format(
    "ig3.v1.msgpack",
    WSMsgType.BINARY,
    msgspec.msgpack.Encoder().encode,
    msgspec.msgpack.Decoder(ClientFrame).decode,
)

FORMATS: Final = {wire.subprotocol: wire for wire in (JSON, MSGPACK)}
"""By subprotocol; a client that names none gets JSON."""


def read_frame(wire: Format, kind: WSMsgType, data: bytes) -> ClientFrame:
    """Decode and check one frame of a client.

    Raises:
        UnreadableFrame: if it is of the other kind (text, binary) or is no frame of the protocol.
    """
    if kind is not wire.kind:
        raise UnreadableFrame(f"{wire.subprotocol} has {wire.kind.name.lower()} frames, not {kind.name.lower()}")
    try:
        frame: ClientFrame = wire.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableFrame(str(error)) from error
    return frame


class Encoded:
    """One frame for many connections: encoded at most once in each format, and only in those that are wanted."""

    __slots__ = ("_bytes", "frame")

    def __init__(self, frame: FromGateway) -> None:
        """Wrap a frame."""
        self.frame = frame
        self._bytes: dict[str, bytes] = {}

    def as_bytes(self, wire: Format) -> bytes:
        """Return the frame in a format."""
        data = self._bytes.get(wire.subprotocol)
        if data is None:
            data = self._bytes[wire.subprotocol] = wire.encode(self.frame)
        return data
