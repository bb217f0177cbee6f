"""The hash chain of one attempt's chunks, and the message that its node signs (ADR 14).

The chain begins with whose task it is, which attempt, and who writes; each link takes in one chunk. So one signature
says all that a node wrote in an attempt, to the last character and token, and can be moved nowhere else. Every part is
of fixed length or has its length before it: no two chains are hashes of the same bytes.
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.events import TaskChunk
    from streams.subjects import TaskKey
    from streams.tasks.vectors import Vectors

_BEGIN: Final = b"ig3-chunks-begin-v1"
_LINK: Final = b"ig3-chunks-link-v1"
_VECTORS: Final = b"ig3-chunks-vectors-v1"
_PURPOSE: Final = b"ig3-answer-v1"
_NUMBER: Final = struct.Struct(">Q")
_PAIR: Final = struct.Struct(">QQ")
_NUMBERS: Final = struct.Struct(">QQQ")
_MORE: Final = b"\x00"
_LAST: Final = b"\x01"
_LAST_WITHOUT_USAGE: Final = b"\x02"
_BESIDE: Final = b"\x03"
_beside: Final = msgspec.msgpack.Encoder(order="deterministic").encode


def begin(key: TaskKey, attempt: int, node: str) -> bytes:
    """Return where the chain of an attempt stands before its first chunk: 32 bytes."""
    parts = (_BEGIN, _part(key.account), _part(key.task), _part(node), _NUMBER.pack(attempt))
    return hashlib.sha256(b"".join(parts)).digest()


def extend(head: bytes, chunk: TaskChunk) -> bytes:
    """Return where a chain that stands at ``head`` stands behind one more chunk of its attempt."""
    numbers = _NUMBERS.pack(chunk.n, chunk.offset, chunk.tokens)
    parts = (_LINK, head, numbers, _part(chunk.text), _closing(chunk), _beside_text(chunk))
    # Another beginning, so that no text can stand for vectors; a chunk of text is what it was before there were any.
    parts = parts if chunk.vectors is None else (_VECTORS, _vectors(chunk.vectors), *parts)
    return hashlib.sha256(b"".join(parts)).digest()


def extend_all(head: bytes, chunks: Iterable[TaskChunk]) -> bytes:
    """Do so for several, in their order."""
    for chunk in chunks:
        head = extend(head, chunk)
    return head


def message(head: bytes) -> bytes:
    """Return what a node signs: all text, so that whoever is asked for a signature can see what it is for."""
    return _PURPOSE + b"\n" + head.hex().encode()


def _closing(chunk: TaskChunk) -> bytes:
    if chunk.finish_reason is None:
        return _MORE
    if chunk.usage is None:
        return _LAST_WITHOUT_USAGE + _part(chunk.finish_reason)
    usage = chunk.usage
    numbers = _NUMBERS.pack(usage.prompt_tokens, usage.completion_tokens, usage.cached_prompt_tokens)
    return _LAST + _part(chunk.finish_reason) + numbers


def _beside_text(chunk: TaskChunk) -> bytes:
    """What is not text: nothing, where there is none, so that chains from before there could be any hold."""
    if not chunk.tool_calls and not chunk.logprobs:
        return b""
    raw = _beside((chunk.tool_calls, chunk.logprobs))
    return _BESIDE + _NUMBER.pack(len(raw)) + raw


def _vectors(vectors: Vectors) -> bytes:
    return _PAIR.pack(vectors.count, len(vectors.floats)) + vectors.floats


def _part(text: str) -> bytes:
    raw = text.encode()
    return _NUMBER.pack(len(raw)) + raw
