"""DID documents as peaq keeps them: a protobuf, written as hex digits or as it is.

Reading is strict, since anybody may write anything on the chain: a limit on the size, every length checked, texts must
be UTF-8, and a field of ours with another wire type is damage. As protobuf wants it, unknown fields are passed over,
of a field that may stand once the last one counts, and parts of a message that stands twice are merged.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from mesh.errors import InvalidDocument
from mesh.identity.peaq.wire import bytes_field, records, text_field

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_DOCUMENT_BYTES: Final = 16 * 1024
"""Largest document that is read; those of peaq's own tools have some hundred bytes."""

_HEX: Final = re.compile(rb"(?:0x)?((?:[0-9a-fA-F]{2})+)")
_SIGNATURE: Final = 4
_REMEMBERED: Final = 512
"""Documents that are kept as they were read: one comes again at every login of its subject."""


class VerificationMethod(Struct, frozen=True, kw_only=True):
    """A key that the document names, as it is written there."""

    id: str = ""
    type: str = ""
    controller: str = ""
    public_key_multibase: str = ""


class DocumentSignature(Struct, frozen=True, kw_only=True):
    """Who says that the document is right, as it is written there."""

    type: str = ""
    issuer: str = ""
    hash: str = ""


class Service(Struct, frozen=True, kw_only=True):
    """Where the subject can be found, or data about it. The mesh uses none."""

    id: str = ""
    type: str = ""
    endpoint: str = ""
    data: str = ""


class Document(Struct, frozen=True, kw_only=True):
    """A DID document. What it says is a claim of whoever wrote it."""

    id: str = ""
    controller: str = ""
    methods: tuple[VerificationMethod, ...] = ()
    signature: DocumentSignature | None = None
    services: tuple[Service, ...] = ()
    authentication: tuple[str, ...] = ()
    unsigned: bytes = b""
    """Its bytes without those of the signature, as they were written: what a signature speaks of."""


@functools.lru_cache(maxsize=_REMEMBERED)
def decode_document(value: bytes) -> Document:
    """Read a document from the value of an attribute: hex digits (with or without ``0x``), or protobuf as it is.

    Raises:
        InvalidDocument: if it is empty, too large, cut off, or no such protobuf.
    """
    if len(value) > 2 * MAX_DOCUMENT_BYTES + len("0x"):
        raise _too_large(len(value))
    digits = _HEX.fullmatch(value)
    data = bytes.fromhex(digits[1].decode()) if digits else value
    if len(data) > MAX_DOCUMENT_BYTES:
        raise _too_large(len(data))
    if not data:
        raise InvalidDocument("it is empty")
    return _document(data)


def encode_document(document: Document) -> bytes:
    """Write a document as protobuf: the ``unsigned`` bytes if it has them, and the signature behind them."""
    signature = document.signature
    return (document.unsigned or encode_unsigned(document)) + (
        b"" if signature is None else _message(_SIGNATURE, (signature.type, signature.issuer, signature.hash))
    )


def encode_unsigned(document: Document) -> bytes:
    """Write all of a document but its signature."""
    methods = ((one.id, one.type, one.controller, one.public_key_multibase) for one in document.methods)
    services = ((one.id, one.type, one.endpoint, one.data) for one in document.services)
    return b"".join(
        (
            text_field(1, document.id),
            text_field(2, document.controller),
            *(_message(3, texts) for texts in methods),
            *(_message(5, texts) for texts in services),
            *(bytes_field(6, reference.encode()) for reference in document.authentication),
        )
    )


def _message(field: int, texts: Iterable[str]) -> bytes:
    return bytes_field(field, b"".join(text_field(number, text) for number, text in enumerate(texts, start=1)))


def _document(data: bytes) -> Document:
    found: dict[int, list[bytes]] = {}
    unsigned = bytearray()
    for record in records(data):
        if 1 <= record.field <= 6:
            found.setdefault(record.field, []).append(_known(record.field, record.content))
        if record.field != _SIGNATURE:
            unsigned += data[record.start : record.end]
    # Parts of a message that stands twice, one after the other, are that message merged.
    signature = b"".join(found.get(_SIGNATURE, []))
    return Document(
        id=_last(found, 1),
        controller=_last(found, 2),
        methods=tuple(_method(content) for content in found.get(3, [])),
        signature=_signature(signature) if _SIGNATURE in found else None,
        services=tuple(_service(content) for content in found.get(5, [])),
        authentication=tuple(_text(content) for content in found.get(6, [])),
        unsigned=bytes(unsigned),
    )


def _method(data: bytes) -> VerificationMethod:
    identity, kind, controller, key = _texts(data, 4)
    return VerificationMethod(id=identity, type=kind, controller=controller, public_key_multibase=key)


def _signature(data: bytes) -> DocumentSignature:
    kind, issuer, digest = _texts(data, 3)
    return DocumentSignature(type=kind, issuer=issuer, hash=digest)


def _service(data: bytes) -> Service:
    identity, kind, endpoint, content = _texts(data, 4)
    return Service(id=identity, type=kind, endpoint=endpoint, data=content)


def _texts(data: bytes, count: int) -> tuple[str, ...]:
    found: dict[int, list[bytes]] = {}
    for record in records(data):
        if record.field <= count:
            found.setdefault(record.field, []).append(_known(record.field, record.content))
    return tuple(_last(found, field) for field in range(1, count + 1))


def _known(field: int, content: bytes | None) -> bytes:
    if content is None:
        raise InvalidDocument(f"field {field} holds a number where a text belongs")
    return content


def _last(found: dict[int, list[bytes]], field: int) -> str:
    # Each of them must be a text, also those that do not count.
    return ([_text(content) for content in found.get(field, [])] or [""])[-1]


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InvalidDocument(f"a text in it is not UTF-8: {error.reason}") from error


def _too_large(size: int) -> InvalidDocument:
    return InvalidDocument(f"{size} bytes are too many: a document has {MAX_DOCUMENT_BYTES} at most")
