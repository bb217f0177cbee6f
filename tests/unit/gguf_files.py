"""Small GGUF files for tests, written from the format's specification."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Value = int | str | list[str] | list[int]


def string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def value(item: Value) -> bytes:
    match item:
        case int():
            return struct.pack("<II", 4, item)
        case str():
            return struct.pack("<I", 8) + string(item)
        case [int(), *_]:
            return struct.pack(f"<IIQ{len(item)}i", 9, 5, len(item), *item)
        case list():
            return struct.pack("<IIQ", 9, 8, len(item)) + b"".join(string(str(text)) for text in item)


def tensor(name: str, shape: Sequence[int], kind: int, offset: int) -> bytes:
    return string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def gguf(values: Mapping[str, Value], tensors: Sequence[bytes], data_bytes: int, *, version: int = 3) -> bytes:
    """One file whose tensor data are zeros, begun at the next multiple of 32."""
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(values))
    head += b"".join(string(key) + value(item) for key, item in values.items()) + b"".join(tensors)
    return head + bytes(-len(head) % 32 + data_bytes)


VALUES: dict[str, Value] = {
    "general.architecture": "llama",
    "general.name": "Tiny",
    "general.file_type": 3,
    "llama.context_length": 4096,
    "tokenizer.ggml.tokens": ["<s>", "a", "🌊"],
    "tokenizer.chat_template": "{{ messages }}",
}
TENSORS = (tensor("embedding", (64, 4), 0, 0), tensor("output", (64, 2), 3, 1024))
"""256 weights of 4 bytes, then 128 weights in 4 blocks of 20 bytes."""
DATA_BYTES = 1024 + 80


def tiny() -> bytes:
    return gguf(VALUES, TENSORS, DATA_BYTES)
