"""Who holds what of a model: all of it is held, nobody more than it lends, and slow links are left out."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from nodes.errors import EngineUnavailable
from nodes.models.file import ModelFile
from nodes.models.gguf import GgufHeader
from nodes.shards.split import WORKING_BYTES, Capacity, Weights, needed_elsewhere, split_model, weights_of

MIB = 1 << 20
WEIGHTS = Weights(layers=30, layer_bytes=10 * MIB, embedding_bytes=40 * MIB, output_bytes=50 * MIB)


def capacity(node: str, mib: int, *, rtt_ms: float = 1.0, mib_per_s: float = 100.0) -> Capacity:
    return Capacity(node=node, memory_bytes=mib * MIB, rtt_ms=rtt_ms, mib_per_s=mib_per_s)


def leader(mib: int) -> Capacity:
    return Capacity(node="leader", memory_bytes=mib * MIB)


def test_layers_spread_in_the_ratio_of_memory_and_the_output_goes_to_the_largest() -> None:
    split = split_model(WEIGHTS, leader(156), [capacity("large", 216), capacity("small", 126)])
    assert [(part.node, part.layers) for part in split.parts] == [("leader", 9), ("small", 8), ("large", 14)]
    assert split.offload.layers == 22
    assert split.offload.shares == (8.0, 14.0)


def test_a_member_on_a_slow_link_is_left_out_where_the_others_suffice() -> None:
    near, far = capacity("near", 400), capacity("far", 4000, rtt_ms=200)
    assert [part.node for part in split_model(WEIGHTS, leader(0), [far, near]).parts] == ["leader", "near"]
    narrow = capacity("narrow", 4000, mib_per_s=1)
    assert [part.node for part in split_model(WEIGHTS, leader(0), [narrow, near]).parts] == ["leader", "near"]


def test_a_slow_link_is_taken_where_the_model_does_not_fit_otherwise() -> None:
    near, far = capacity("near", 200), capacity("far", 300, rtt_ms=200)
    split = split_model(WEIGHTS, leader(0), [far, near])
    assert [part.node for part in split.parts] == ["leader", "near", "far"]
    assert [part.rtt_ms for part in split.parts] == [None, 1.0, 200.0]


def test_what_does_not_fit_is_refused_with_the_figures() -> None:
    with pytest.raises(EngineUnavailable, match="2 members lend 200 MiB together and the leader gives 60 MiB"):
        split_model(WEIGHTS, leader(60), [capacity("a", 100), capacity("b", 100)])
    with pytest.raises(EngineUnavailable, match="0 members"):
        split_model(WEIGHTS, leader(10_000), [])


@given(own=st.integers(0, 500), lent=st.lists(st.integers(1, 500), min_size=1, max_size=6))
def test_every_layer_is_held_once_and_nobody_holds_more_than_it_gives(own: int, lent: list[int]) -> None:
    members = [capacity(f"m{number}", mib) for number, mib in enumerate(lent)]
    try:
        split = split_model(WEIGHTS, leader(own), members)
    except EngineUnavailable:
        return
    given_by = {"leader": own * MIB, **{member.node: member.memory_bytes for member in members}}
    assert sum(part.layers for part in split.parts) == WEIGHTS.layers + 1
    for part in split.parts[1:]:
        assert part.memory_bytes + WORKING_BYTES <= given_by[part.node]
    if split.parts[0].layers:
        assert split.parts[0].memory_bytes + WORKING_BYTES <= own * MIB
    assert split.offload.layers == WEIGHTS.layers + 1 - split.parts[0].layers


@given(own=st.integers(0, 500))
def test_a_single_member_that_lends_what_is_asked_for_is_enough(own: int) -> None:
    lent = needed_elsewhere(WEIGHTS, own * MIB)
    split_model(WEIGHTS, leader(own), [Capacity(node="a", memory_bytes=lent)])


def model(**changes: int) -> ModelFile:
    shape = {"layers": 10, "embedding_bytes": 100, "output_bytes": 100, "vocabulary_tokens": 1}
    header = GgufHeader(
        architecture="llama", name=None, quantisation=None, context_tokens=None, parameters=None, tensors=1,
        has_chat_template=False, cache_bytes_per_token=20, file_bytes=1100,
    )  # fmt: skip
    return ModelFile(model_id="m", path=Path("m.gguf"), header=structs.replace(header, **{**shape, **changes}))


def test_a_model_is_measured_by_its_header() -> None:
    tied = weights_of(model(), context_tokens=50)
    assert (tied.layers, tied.layer_bytes, tied.embedding_bytes, tied.output_bytes) == (10, 200, 100, 456)
    assert weights_of(model(output_bytes=300), context_tokens=50).layer_bytes == 170
    with pytest.raises(EngineUnavailable, match="how many layers"):
        weights_of(model(layers=0), context_tokens=50)
