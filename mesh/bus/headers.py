"""NATS message headers: written and read without a dict, since most messages need one or none."""

from __future__ import annotations

from typing import Final

from streams.errors import StreamsError

CONTENT_TYPE: Final = "Content-Type"
TRACEPARENT: Final = "traceparent"
EXPECTED_LAST: Final = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_LAST_SUBJECT: Final = "Nats-Expected-Last-Subject-Sequence-Subject"
SEQUENCE: Final = "Nats-Sequence"
STREAM_SUBJECT: Final = "Nats-Subject"

NO_RESPONDERS: Final = 503
"""The status with which the broker says that nobody listens."""

_FIRST_LINE: Final = b"NATS/1.0"


class InvalidHeader(StreamsError, ValueError):
    """A header value would end its line; send it without CR and LF."""


def header_block(*pairs: tuple[str, str]) -> bytes:
    """Write a header block.

    Raises:
        InvalidHeader: if a value holds a line break, which would smuggle in another header.
    """
    for name, value in pairs:
        if "\r" in value or "\n" in value:
            raise InvalidHeader(f"the value of header {name} holds a line break")
    lines = "".join(f"{name}: {value}\r\n" for name, value in pairs)
    return b"%b\r\n%b\r\n" % (_FIRST_LINE, lines.encode())


def header(block: bytes, name: str) -> str | None:
    """Return the first value of a header, its name compared without case; None where it is not there."""
    if not block:
        return None
    wanted = name.lower().encode()
    for line in block.split(b"\r\n")[1:]:
        key, colon, value = line.partition(b":")
        if colon and key.strip().lower() == wanted:
            return value.strip().decode(errors="replace")
    return None


def stamped(block: bytes, name: str) -> str | None:
    """Return a header that the broker wrote on what it stores, its name as the broker spells it; None without one.

    The broker adds its own lines (``Nats-Subject``, ``Nats-Sequence``) behind those of the publisher, who may have sent
    lines of the same name: only the last one is the broker's.
    """
    key = f"\r\n{name}: ".encode()
    found = block.rfind(key)
    if found < 0:
        return None
    start = found + len(key)
    return block[start : block.index(b"\r\n", start)].decode(errors="replace")


def status_code(block: bytes) -> int | None:
    """Return the status in the first line (``NATS/1.0 503`` says that nobody listens), or None."""
    if not block.startswith(_FIRST_LINE):
        return None
    words = block.split(b"\r\n", 1)[0].split()
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else None
