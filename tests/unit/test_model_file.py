"""Finding models, naming them, and reading their headers without trusting a byte."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodes.engine import DEFAULT_MODEL
from nodes.errors import EngineUnavailable
from nodes.models.file import find_model, model_id_of
from nodes.models.gguf import GgufHeader, read_header
from tests.unit import gguf_files
from tests.unit.gguf_files import DATA_BYTES, TENSORS, VALUES, Value, gguf, tensor, tiny


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "Tiny-Chat.Q4_1.gguf"


def refusal_of(file: Path, content: bytes) -> str:
    file.write_bytes(content)
    with pytest.raises(EngineUnavailable) as refused:
        read_header(file)
    assert str(file) in str(refused.value)
    return str(refused.value)


def test_a_header_is_read(file: Path) -> None:
    file.write_bytes(tiny())
    assert read_header(file) == GgufHeader(
        architecture="llama",
        name="Tiny",
        quantisation="Q4_1",
        context_tokens=4096,
        parameters=384,
        tensors=2,
        has_chat_template=True,
        file_bytes=len(tiny()),
        vocabulary_tokens=3,
    )


def test_a_header_says_what_a_model_is_split_by(file: Path) -> None:
    shape = {**VALUES, "llama.block_count": 7}
    embedding = tensor("token_embd.weight", (64, 4), 0, 0)
    file.write_bytes(gguf(shape, (embedding, tensor("output.weight", (64, 2), 3, 1024)), DATA_BYTES))
    header = read_header(file)
    assert (header.layers, header.vocabulary_tokens, header.embedding_bytes, header.output_bytes) == (7, 3, 1024, 80)
    file.write_bytes(gguf(shape, (embedding,), DATA_BYTES))
    assert read_header(file).output_bytes == 1024, "one tensor does both"


def test_version_2_and_a_wider_alignment_are_read(file: Path) -> None:
    values = {**VALUES, "general.alignment": 64}
    file.write_bytes(gguf(values, TENSORS, DATA_BYTES + 32, version=2))
    assert read_header(file).parameters == 384


def test_what_a_file_does_not_say_is_none(file: Path) -> None:
    file.write_bytes(gguf({"general.architecture": "new", "general.file_type": 999}, TENSORS, DATA_BYTES))
    header = read_header(file)
    assert (header.name, header.quantisation, header.context_tokens, header.has_chat_template) == (
        None, None, None, False,
    )  # fmt: skip


def test_one_part_of_a_split_model_does_not_claim_a_number_of_parameters(file: Path) -> None:
    file.write_bytes(gguf({**VALUES, "split.count": 3}, TENSORS, DATA_BYTES))
    assert read_header(file).parameters is None


def test_every_truncation_is_refused(file: Path) -> None:
    whole = tiny()
    for length in range(len(whole)):
        refusal_of(file, whole[:length])


def test_a_truncated_file_is_told_its_sizes(file: Path) -> None:
    assert f"it should have {len(tiny())} bytes and has {len(tiny()) - 1}" in refusal_of(file, tiny()[:-1])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
@given(at=st.integers(0, len(tiny()) - 1), put=st.binary(min_size=1, max_size=8))
def test_a_damaged_file_is_read_or_refused_but_never_breaks_the_reader(file: Path, at: int, put: bytes) -> None:
    whole = bytearray(tiny())
    whole[at : at + len(put)] = put
    file.write_bytes(whole)
    try:
        header = read_header(file)
    except EngineUnavailable:
        return
    assert header.file_bytes == len(whole)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04" + bytes(60), "does not begin with GGUF"),
        (gguf(VALUES, TENSORS, DATA_BYTES, version=1), "version 1"),
        (gguf(VALUES, TENSORS, DATA_BYTES, version=0x03000000), "version 50331648"),  # big endian
        (gguf(VALUES, (), 0), "holds no model"),
        (gguf({"general.name": "x"}, TENSORS, DATA_BYTES), "holds no model"),
        (gguf({**VALUES, "general.alignment": 0}, TENSORS, DATA_BYTES), "alignment 0"),
        (gguf({**VALUES, "general.alignment": 48}, TENSORS, DATA_BYTES), "alignment 48"),
        (gguf({**VALUES, "general.namf": "b"}, TENSORS, 2000).replace(b"general.namf", b"general.name"), "twice"),
        (gguf(VALUES, (tensor("t", (1, 1, 1, 1, 1), 0, 0),), 64), "5 dimensions"),
        (gguf(VALUES, (tensor("t", (2**40, 2**40), 0, 0),), 64), "cut short"),
        (gguf(VALUES, (tensor("t", (32,), 0, 2**60),), 64), "cut short"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**40, 1) + bytes(64), "tensors"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 2**40) + bytes(64), "values"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 1, 1, 2**40) + bytes(64), "bytes in one string"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + gguf_files.string("k") + struct.pack("<I", 77), "value type 77"),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + gguf_files.string("k") + struct.pack("<IIQ", 9, 8, 2**50),
            "elements in one array",
        ),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + gguf_files.string("k") + struct.pack("<IIQ", 9, 9, 1),
            "array of type 9",
        ),
    ],
)
def test_a_bad_file_is_refused_with_the_reason(file: Path, content: bytes, reason: str) -> None:
    assert reason in refusal_of(file, content)


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="cannot read model file"):
        read_header(tmp_path / "missing.gguf")


@pytest.mark.parametrize(
    ("name", "model_id"),
    [
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2-135m-instruct"),
        ("Llama-3.2-1B-Instruct-Q8_0.gguf", "llama-3.2-1b-instruct"),
        ("mistral-7b.IQ4_XS.gguf", "mistral-7b"),
        ("big-Q4_K_M-00001-of-00003.gguf", "big"),
        ("gpt-oss-20b-mxfp4.gguf", "gpt-oss-20b"),
        ("phi-3-f16.gguf", "phi-3"),
        ("qwen3-4b.gguf", "qwen3-4b"),
        ("Q4_0.gguf", "q4_0"),
    ],
)
def test_a_model_is_named_after_its_file(name: str, model_id: str) -> None:
    assert model_id_of(Path(name)) == model_id


def test_a_model_is_found_by_path(file: Path) -> None:
    file.write_bytes(tiny())
    assert find_model(str(file)).model_id == "tiny-chat"
    assert find_model(str(file), "mine").model_id == "mine"


def test_the_built_in_model_is_found_without_importing_its_package() -> None:
    found = find_model(DEFAULT_MODEL)
    assert found.model_id == DEFAULT_MODEL
    assert (found.header.quantisation, found.header.parameters) == ("Q4_1", 134_515_008)


@pytest.mark.parametrize("model", ["nonsense", "/no/such/file.gguf", "."])
def test_an_unknown_model_is_refused_with_what_there_is(model: str) -> None:
    with pytest.raises(EngineUnavailable, match=f"one of: {DEFAULT_MODEL}"):
        find_model(model)


# --- markers -----------------------------------------------------------------------------------------------------


def test_the_markers_are_the_control_tokens_and_those_of_the_template(file: Path) -> None:
    tokens = ["<unk>", "<|end|>", "a", "\n\n", "<b>", "<think>", "<0x0A>", "<|later|>"]
    values = {
        **VALUES,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [2, 3, 1, 4, 4, 4, 6, 1],
        "tokenizer.chat_template": "{{ message }}<|later|>\n\n{% if thinks %}<think>{% endif %}",
    }
    file.write_bytes(gguf(values, TENSORS, DATA_BYTES))
    assert read_header(file).markers == ("<think>", "<unk>", "<|end|>", "<|later|>")


@pytest.mark.parametrize("values", [{"tokenizer.ggml.tokens": 7}, {"tokenizer.ggml.token_type": ["one"]}])
def test_a_vocabulary_of_another_type_is_refused(file: Path, values: dict[str, Value]) -> None:
    assert "vocabulary" in refusal_of(file, gguf({**VALUES, **values}, TENSORS, DATA_BYTES))


def test_the_built_in_model_has_its_markers() -> None:
    assert {"<|im_start|>", "<|im_end|>", "<|endoftext|>"} <= set(find_model(DEFAULT_MODEL).header.markers)
