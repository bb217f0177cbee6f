"""What a model will take is told from its header, and what cannot be held is refused before it is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodes.engine import DEFAULT_MODEL
from nodes.engines.host import available_bytes
from nodes.engines.llama import startup
from nodes.engines.llama.memory_need import refuse_what_does_not_fit
from nodes.errors import EngineUnavailable
from nodes.models.file import ModelFile, find_model
from nodes.models.gguf import GgufHeader, read_header
from tests.unit.gguf_files import DATA_BYTES, TENSORS, VALUES, Value, gguf, tiny

GB = 10**9
ATTENTION: dict[str, Value] = {
    "llama.block_count": 32,
    "llama.embedding_length": 4096,
    "llama.attention.head_count": 32,
    "llama.attention.head_count_kv": 8,
}
"""Llama 3 8B: llama.cpp says 128 KiB per token."""


def cache_of(tmp_path: Path, **changes: Value) -> int | None:
    values = {**VALUES, **ATTENTION, **{f"llama.{key.replace('__', '.')}": value for key, value in changes.items()}}
    file = tmp_path / "m.gguf"
    file.write_bytes(gguf(values, TENSORS, DATA_BYTES))
    return read_header(file).cache_bytes_per_token


# --- the estimate ------------------------------------------------------------------------------------------------


def test_the_cache_of_a_token_follows_layers_heads_and_their_size(tmp_path: Path) -> None:
    assert cache_of(tmp_path) == 128 * 1024
    assert cache_of(tmp_path, block_count=16) == 64 * 1024
    assert cache_of(tmp_path, attention__key_length=64, attention__value_length=192) == 128 * 1024
    assert cache_of(tmp_path, attention__key_length=256) == 192 * 1024


def test_without_a_number_of_its_own_every_head_has_a_key_and_a_value(tmp_path: Path) -> None:
    values = {**VALUES, **ATTENTION}
    del values["llama.attention.head_count_kv"]
    file = tmp_path / "m.gguf"
    file.write_bytes(gguf(values, TENSORS, DATA_BYTES))
    assert read_header(file).cache_bytes_per_token == 512 * 1024


@pytest.mark.parametrize(
    "changes",
    [
        {"attention__sliding_window": 512},
        {"attention__kv_lora_rank": 512},
        {"ssm__conv_kernel": 4},
        {"shortconv__l_cache": 3},
        {"attention__head_count_kv": [8, 0, 8]},
        {"attention__head_count": 0, "attention__head_count_kv": 0},
        {"block_count": 0},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_is_kept_otherwise_is_not_guessed(tmp_path: Path, changes: dict[str, Value]) -> None:
    assert cache_of(tmp_path, **changes) is None


def test_the_cache_of_the_built_in_model_is_what_llama_cpp_says() -> None:
    # llama.cpp of 8192 tokens: "KV buffer size = 180.00 MiB"
    assert find_model(DEFAULT_MODEL).header.cache_bytes_per_token == 180 * 2**20 // 8192


def test_the_parts_of_a_split_model_count_together(tmp_path: Path) -> None:
    for name in ("big-Q4_K_M-00001-of-00002.gguf", "big-Q4_K_M-00002-of-00002.gguf", "big-Q4_K_M-00001-of-00003.gguf"):
        (tmp_path / name).write_bytes(tiny())
    (tmp_path / "other.gguf").write_bytes(tiny())
    assert find_model(str(tmp_path / "big-Q4_K_M-00001-of-00002.gguf")).files_bytes == 2 * len(tiny())
    assert find_model(str(tmp_path / "other.gguf")).files_bytes == len(tiny())


# --- the refusal -------------------------------------------------------------------------------------------------


def model(*, file_bytes: int, cache_bytes_per_token: int | None) -> ModelFile:
    header = GgufHeader(
        architecture="llama", name=None, quantisation=None, context_tokens=None, parameters=None, tensors=1,
        has_chat_template=True, file_bytes=file_bytes, cache_bytes_per_token=cache_bytes_per_token,
    )  # fmt: skip
    return ModelFile(model_id="m", path=Path("m.gguf"), header=header)


def refuse(what: ModelFile, available: int | None) -> None:
    refuse_what_does_not_fit(what, context_tokens=10_000, slots=4, available_bytes=available)


def test_what_fits_to_the_byte_is_taken_and_one_less_is_refused_with_all_figures() -> None:
    what = model(file_bytes=5 * GB, cache_bytes_per_token=100_000)
    refuse(what, 9 * GB)
    with pytest.raises(EngineUnavailable) as refused:
        refuse(what, 9 * GB - 1)
    assert str(refused.value) == (
        "m.gguf does not fit into memory: it needs 9.0 GB (5.0 GB for the model and 4.0 GB for 4 x 10000 tokens of"
        " context), and 9.0 GB are available: give a smaller --context, fewer --slots or a smaller model"
    )


def test_what_this_process_has_mapped_is_not_left_for_another_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "available_bytes", lambda: 5 * GB)
    monkeypatch.setattr(startup, "mapped_bytes", lambda: 2 * GB)
    assert startup.left_bytes() == 3 * GB
    monkeypatch.setattr(startup, "mapped_bytes", lambda: 6 * GB)
    assert startup.left_bytes() == 0
    monkeypatch.setattr(startup, "available_bytes", lambda: None)
    assert startup.left_bytes() is None


def test_where_the_model_alone_is_too_large_only_another_one_helps() -> None:
    with pytest.raises(EngineUnavailable, match=r"5\.0 GB are available: choose a smaller model$"):
        refuse(model(file_bytes=5 * GB, cache_bytes_per_token=100_000), 5 * GB)


def test_what_is_not_known_refuses_nothing() -> None:
    refuse(model(file_bytes=5 * GB, cache_bytes_per_token=None), 5 * GB)
    refuse(model(file_bytes=5 * GB, cache_bytes_per_token=100_000), None)


# --- what is available -------------------------------------------------------------------------------------------


class Machine:
    """The files in which a kernel tells of its memory."""

    def __init__(self, root: Path, groups: str) -> None:
        self.root = root
        self.write("proc/meminfo", "MemTotal:       33554432 kB\nMemAvailable:   16777216 kB\n")
        self.write("proc/self/cgroup", groups)

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def v2(self, group: str, limit: str, usage: int, *, file_bytes: int) -> None:
        self.write(f"sys/fs/cgroup/{group}/memory.max", f"{limit}\n")
        self.write(f"sys/fs/cgroup/{group}/memory.current", f"{usage}\n")
        stat = f"anon {usage - file_bytes}\ninactive_file {file_bytes // 2}\nactive_file {file_bytes // 2}\n"
        self.write(f"sys/fs/cgroup/{group}/memory.stat", stat)

    @property
    def available(self) -> int | None:
        return available_bytes(self.root)


def test_without_a_limit_it_is_what_the_machine_has(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "0::/user.slice\n")
    assert machine.available == 16 * 2**30
    machine.v2("user.slice", "max", 9 * GB, file_bytes=0)
    assert machine.available == 16 * 2**30
    (tmp_path / "proc/self/cgroup").unlink()
    assert machine.available == 16 * 2**30


def test_a_limit_leaves_what_is_not_used_and_page_cache_counts_as_free(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "0::/pod/box\n")
    machine.v2("pod/box", str(8 * GB), 6 * GB, file_bytes=4 * GB)
    assert machine.available == 6 * GB
    machine.v2("pod", str(7 * GB), 6 * GB, file_bytes=2 * GB)
    assert machine.available == 3 * GB
    machine.v2("pod", str(5 * GB), 6 * GB, file_bytes=0)
    assert machine.available == 0


def test_limits_of_the_first_version_hold_too_and_a_container_sees_only_its_own_group(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "5:devices:/\n4:cpu,memory:/docker/abc\n0::/\n")
    machine.write("sys/fs/cgroup/memory/memory.limit_in_bytes", f"{4 * GB}\n")
    machine.write("sys/fs/cgroup/memory/memory.usage_in_bytes", f"{3 * GB}\n")
    stat = f"inactive_file 7\ntotal_inactive_file {GB}\ntotal_active_file {GB // 2}\n"
    machine.write("sys/fs/cgroup/memory/memory.stat", stat)
    assert machine.available == 2 * GB + GB // 2


def test_a_kernel_that_does_not_tell_is_not_one_without_memory(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "0::/\n")
    machine.write("proc/meminfo", "MemTotal: 1 kB\n")
    assert machine.available is None
