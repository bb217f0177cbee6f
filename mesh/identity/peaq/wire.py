"""The wire format of protobuf, as far as documents need it: read strictly, and written.

Source: protobuf's page "Encoding". Groups, which protobuf itself gave up, are refused like damage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from mesh.errors import InvalidDocument

if TYPE_CHECKING:
    from collections.abc import Iterator

_VARINT: Final = 0
_LENGTH: Final = 2
_FIXED: Final = {1: 8, 5: 4}
_MAX_FIELD: Final = (1 << 29) - 1
_MAX_VARINT_BYTES: Final = 10


class Record(NamedTuple):
    """One field as it stands on the wire."""

    field: int
    content: bytes | None
    """None if it is a number, which no field of a document is."""
    start: int
    end: int


def records(data: bytes) -> Iterator[Record]:
    """Take a message apart, in the order in which it stands.

    Raises:
        InvalidDocument: if it is cut off, or is no protobuf.
    """
    at = 0
    while at < len(data):
        start = at
        tag, at = _varint(data, at)
        field, kind = tag >> 3, tag & 7
        if not 1 <= field <= _MAX_FIELD:
            raise InvalidDocument(f"byte {start} begins field {field}, which no protobuf has")
        content, at = _content(data, at, kind)
        yield Record(field, content, start, at)


def text_field(field: int, text: str) -> bytes:
    """Write a text field; an empty one is not written, as in proto3."""
    return bytes_field(field, text.encode()) if text else b""


def bytes_field(field: int, content: bytes) -> bytes:
    """Write a field of bytes, or a message within a message."""
    return _number(field << 3 | _LENGTH) + _number(len(content)) + content


def _content(data: bytes, at: int, kind: int) -> tuple[bytes | None, int]:
    if kind == _VARINT:
        return None, _varint(data, at)[1]
    if kind == _LENGTH:
        length, at = _varint(data, at)
        return data[at : _end(data, at, length)], at + length
    if kind in _FIXED:
        return None, _end(data, at, _FIXED[kind])
    raise InvalidDocument(f"wire type {kind} at byte {at} is none that documents use")


def _end(data: bytes, at: int, length: int) -> int:
    if at + length > len(data):
        raise InvalidDocument(f"it is cut off: {length} bytes are announced at byte {at}, {len(data) - at} are there")
    return at + length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = 0
    for count in range(_MAX_VARINT_BYTES):
        if at + count >= len(data):
            raise InvalidDocument(f"it is cut off in a number at byte {at}")
        byte = data[at + count]
        number |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return number, at + count + 1
    raise InvalidDocument(f"the number at byte {at} does not end")


def _number(value: int) -> bytes:
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
