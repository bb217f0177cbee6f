"""Reads the header of a GGUF model file, strictly, so that a broken file never reaches C++ code.

Format: the GGUF specification of the ggml project, versions 2 and 3, little endian. Every length is checked against the
size of the file before it is used; nothing is allocated on the word of the file.
"""

from __future__ import annotations

import mmap
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import Struct

from nodes.errors import EngineUnavailable

if TYPE_CHECKING:
    from pathlib import Path

_MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
_MAX_KEY_BYTES: Final = 65_535
_MAX_VALUES: Final = 65_536
_MAX_TENSORS: Final = 1_000_000
_MAX_ELEMENTS: Final = 10_000_000
_MAX_DIMENSIONS: Final = 4
_LONGEST_SHOWN: Final = 64
_DEFAULT_ALIGNMENT: Final = 32
_STRING: Final = 8
_ARRAY: Final = 9
_INT32: Final = 5
_SCALARS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

_EMBEDDING: Final = "token_embd.weight"
_OUTPUT: Final = "output.weight"
_TEMPLATE: Final = "tokenizer.chat_template"
_TOKENS: Final = "tokenizer.ggml.tokens"
_TYPES_OF_TOKENS: Final = "tokenizer.ggml.token_type"
_UNKNOWN_TOKEN: Final = 2
_CONTROL_TOKEN: Final = 3
_BRACKETS: Final = {"<": ">", "[": "]"}

_QUANTISATIONS: Final = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE",
}  # fmt: skip

# Tensor type -> (weights in a block, bytes of a block).
_BLOCKS: Final = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36), 10: (256, 84),
    11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66), 17: (256, 74),
    18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2),
    26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip

_CACHED_NUMBER_BYTES: Final = 2
_OTHER_CACHES: Final = ("attention.sliding_window", "attention.kv_lora_rank", "ssm.conv_kernel", "shortconv.l_cache")
"""Where one of these stands, layers keep less than all tokens, or something smaller of each."""

Scalar = str | int | float | bool


class GgufHeader(Struct, frozen=True, kw_only=True):
    """What a model file says of itself."""

    architecture: str
    name: str | None
    licence: str | None = None
    """As the file calls it, such as ``apache-2.0``."""
    quantisation: str | None
    context_tokens: int | None
    """The longest context the model was made for."""
    parameters: int | None
    """Weights of all tensors; ``None`` for one part of a split model."""
    tensors: int
    has_chat_template: bool
    file_bytes: int
    cache_bytes_per_token: int | None = None
    """What the attention of all layers keeps of one token; ``None`` where the model keeps something else."""
    layers: int = 0
    """Blocks, one after the other; 0 where it does not say."""
    vocabulary_tokens: int = 0
    embedding_bytes: int = 0
    """The tensor that makes numbers of tokens."""
    output_bytes: int = 0
    """The tensor that makes tokens of numbers: where there is none of its own, the one of the embedding does both."""
    markers: tuple[str, ...] = ()
    """Texts that the tokenizer takes for control tokens wherever they stand, and those that the template uses so."""


def read_header(path: Path) -> GgufHeader:
    """Read and check the header of ``path``.

    Raises:
        EngineUnavailable: the file is unreadable, no GGUF, damaged or cut short; the message says which.
    """
    try:
        if not path.stat().st_size:  # mmap cannot take an empty file
            raise EngineUnavailable(f"{path} is empty: download the model again")
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _header(_Reader(data, path))
    except OSError as e:
        raise EngineUnavailable(f"cannot read model file {path}: {e.strerror}") from e


class _Reader:
    """A cursor that never passes the end of the file."""

    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self.data = data
        self.size = len(data)
        self.at = 0
        self.path = path

    def damaged(self, what: str) -> EngineUnavailable:
        return EngineUnavailable(f"{self.path} is no usable GGUF model: {what}; download it again or convert it anew")

    def skip(self, count: int) -> int:
        """Pass ``count`` bytes and return where they began."""
        start = self.at
        if count > self.size - start:
            raise self.damaged(f"the file ends at byte {self.size} inside its header")
        self.at = start + count
        return start

    def scalar(self, code: str) -> int | float | bool:
        return struct.unpack_from(f"<{code}", self.data, self.skip(struct.calcsize(f"<{code}")))[0]

    def count(self, what: str, limit: int) -> int:
        """Read an unsigned 64-bit number that must not exceed ``limit``."""
        value = int(self.scalar("Q"))
        if value > limit:
            raise self.damaged(f"it claims {value} {what}")
        return value

    def string(self, limit: int | None = None) -> str:
        length = self.count("bytes in one string", self.size if limit is None else limit)
        start = self.skip(length)
        return self.data[start : start + length].decode("utf-8", "replace")

    def value(self, kind: int) -> Scalar | None:
        """Read one value; arrays are passed over and read as ``None``."""
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            return self._skip_array()
        if kind not in _SCALARS:
            raise self.damaged(f"unknown value type {kind}")
        return self.scalar(_SCALARS[kind])

    def strings(self) -> list[str]:
        """Read an array that must hold strings."""
        return [self.string() for _ in range(self._array_of(_STRING))]

    def integers(self) -> list[int]:
        """Read an array that must hold 32-bit integers."""
        count = self._array_of(_INT32)
        return list(struct.unpack_from(f"<{count}i", self.data, self.skip(4 * count)))

    def _array_of(self, kind: int) -> int:
        outer, inner = int(self.scalar("I")), int(self.scalar("I"))
        if (outer, inner) != (_ARRAY, kind):
            raise self.damaged(f"its vocabulary is of type {outer}, {inner}")
        return self.count("elements in one array", min(self.size, _MAX_ELEMENTS))

    def _skip_array(self) -> None:
        kind = int(self.scalar("I"))
        length = self.count("elements in one array", min(self.size, _MAX_ELEMENTS))
        if kind in _SCALARS:
            self.skip(length * struct.calcsize(f"<{_SCALARS[kind]}"))
            return
        if kind != _STRING:
            raise self.damaged(f"array of type {kind}")
        for _ in range(length):
            self.skip(self.count("bytes in one string", self.size))


def _header(reader: _Reader) -> GgufHeader:
    if reader.size < len(_MAGIC) or reader.data[: reader.skip(len(_MAGIC)) + len(_MAGIC)] != _MAGIC:
        raise reader.damaged("it does not begin with GGUF")
    version = int(reader.scalar("I"))
    if version not in _VERSIONS:
        raise reader.damaged(f"version {version} is not one of {_VERSIONS}")
    tensors = reader.count("tensors", _MAX_TENSORS)
    vocabulary = _Vocabulary()
    values = _read_values(reader, reader.count("values", _MAX_VALUES), vocabulary)
    found = _read_tensors(reader, tensors, values)
    architecture = values.get("general.architecture")
    if not isinstance(architecture, str) or not tensors:
        raise reader.damaged("it holds no model")
    return GgufHeader(
        architecture=architecture,
        name=_text(values.get("general.name")),
        licence=_text(values.get("general.license")) or _text(values.get("general.license.name")),
        quantisation=_QUANTISATIONS.get(_whole(values.get("general.file_type"), -1)),
        context_tokens=_whole(values.get(f"{architecture}.context_length"), 0) or None,
        parameters=found.weights if _whole(values.get("split.count"), 1) <= 1 else None,
        tensors=tensors,
        has_chat_template=_TEMPLATE in values,
        file_bytes=reader.size,
        cache_bytes_per_token=_cache_bytes_per_token(architecture, values),
        layers=max(0, _whole(values.get(f"{architecture}.block_count"), 0)),
        vocabulary_tokens=len(vocabulary.tokens),
        embedding_bytes=found.bytes_of.get(_EMBEDDING, 0),
        output_bytes=found.bytes_of.get(_OUTPUT) or found.bytes_of.get(_EMBEDDING, 0),
        markers=vocabulary.markers(_text(values.get(_TEMPLATE)) or ""),
    )


class _Vocabulary:
    """The texts of a model's tokens, and of which type each is."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.types: list[int] = []

    def markers(self, template: str) -> tuple[str, ...]:
        """List the texts that are no text to the model.

        llama.cpp makes control tokens of some that the file gives another type, if a model cannot do without: those
        stand in the chat template.
        """
        control = {
            token
            for token, kind in zip(self.tokens, self.types, strict=False)
            if kind in (_UNKNOWN_TOKEN, _CONTROL_TOKEN)
        }
        in_template = {token for token in self.tokens if _looks_like_marker(token) and token in template}
        return tuple(sorted(control | in_template))


def _looks_like_marker(token: str) -> bool:
    return len(token) > 2 and _BRACKETS.get(token[0]) == token[-1]


def _read_values(reader: _Reader, count: int, vocabulary: _Vocabulary) -> dict[str, Scalar | None]:
    values: dict[str, Scalar | None] = {}
    keys = set[str]()
    for _ in range(count):
        key = reader.string(_MAX_KEY_BYTES)
        if key in keys:
            raise reader.damaged(f"it has the key {key[:_LONGEST_SHOWN]!r} twice")
        keys.add(key)
        if key == _TOKENS:
            vocabulary.tokens = reader.strings()
        elif key == _TYPES_OF_TOKENS:
            vocabulary.types = reader.integers()
        else:
            values[key] = reader.value(int(reader.scalar("I")))
    return values


class _Tensors(NamedTuple):
    """How many weights there are, and how many bytes the tensors take that turn words into numbers and back."""

    weights: int
    bytes_of: dict[str, int]


def _read_tensors(reader: _Reader, count: int, values: dict[str, Scalar | None]) -> _Tensors:
    """Check that every tensor lies inside the file, and measure them."""
    weights = end = 0
    bytes_of: dict[str, int] = {}
    for _ in range(count):
        name = reader.string(_MAX_KEY_BYTES)
        size = _tensor_weights(reader)
        kind = int(reader.scalar("I"))
        offset = int(reader.scalar("Q"))
        per_block, block_bytes = _BLOCKS.get(kind, (1, 0))  # a newer type: only its offset can be checked
        end = max(end, offset + size // per_block * block_bytes)
        if name in {_EMBEDDING, _OUTPUT}:
            bytes_of[name] = size // per_block * block_bytes
        weights += size
    alignment = _whole(values.get("general.alignment"), _DEFAULT_ALIGNMENT)
    if alignment <= 0 or alignment & (alignment - 1):
        raise reader.damaged(f"alignment {alignment}")
    data_start = -(-reader.at // alignment) * alignment
    if data_start + end > reader.size:
        raise reader.damaged(f"cut short: it should have {data_start + end} bytes and has {reader.size}")
    return _Tensors(weights, bytes_of)


def _tensor_weights(reader: _Reader) -> int:
    dimensions = int(reader.scalar("I"))
    if not 1 <= dimensions <= _MAX_DIMENSIONS:
        raise reader.damaged(f"a tensor with {dimensions} dimensions")
    weights = 1
    for _ in range(dimensions):
        weights *= int(reader.scalar("Q"))
    return weights


def _cache_bytes_per_token(architecture: str, values: dict[str, Scalar | None]) -> int | None:
    """Follow llama.cpp: a key and a value of each head in each layer, as 16-bit numbers."""
    if any(f"{architecture}.{key}" in values for key in _OTHER_CACHES):
        return None

    def whole(key: str, default: int = 0) -> int:
        return _whole(values.get(f"{architecture}.{key}", default), 0)

    heads = whole("attention.head_count")
    size = whole("embedding_length") // heads if heads > 0 else 0
    of_a_head = whole("attention.key_length", size) + whole("attention.value_length", size)
    total = whole("block_count") * whole("attention.head_count_kv", heads) * of_a_head * _CACHED_NUMBER_BYTES
    return total if total > 0 else None


def _text(value: Scalar | None) -> str | None:
    return value if isinstance(value, str) else None


def _whole(value: Scalar | None, default: int) -> int:
    return int(value) if isinstance(value, int) else default
