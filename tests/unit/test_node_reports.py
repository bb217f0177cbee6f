"""What a node counts of itself, and how long it pauses."""

from collections import Counter
from datetime import timedelta

import pytest

from nodes.pauses import LONGEST_PAUSE_S, jittered_s, pause_s
from nodes.presence.status import TokenRates, resident_bytes
from nodes.settings import NodeSettings


def test_a_rate_is_over_at_least_a_second() -> None:
    rates = TokenRates(0.0)
    assert rates.update(0.0, Counter(m=0)) == {}
    assert rates.update(0.5, Counter(m=500)) == {}
    assert rates.update(2.0, Counter(m=600)) == {"m": 300.0}


def test_a_rate_stands_until_there_is_a_newer_one_and_falls_to_nothing() -> None:
    rates = TokenRates(0.0)
    rates.update(0.0, Counter(m=0))
    rates.update(1.0, Counter(m=10))
    assert rates.update(1.9, Counter(m=1000)) == {"m": 10.0}
    assert rates.update(3.0, Counter(m=1000)) == {"m": 495.0}
    assert rates.update(5.0, Counter(m=1000)) == {"m": 0.0}


def test_a_model_that_was_not_used_before_has_a_rate_too() -> None:
    rates = TokenRates(0.0)
    rates.update(0.0, Counter())
    assert rates.update(2.0, Counter(m=8)) == {"m": 4.0}


def test_memory_is_that_of_a_python_process() -> None:
    assert 5_000_000 < (resident_bytes() or 0) < 100_000_000_000


def test_pauses_grow_to_a_limit_and_never_beyond() -> None:
    longest = [max(pause_s(tries) for _ in range(50)) for tries in range(1, 12)]
    assert longest[0] <= 0.1
    assert longest[2] > longest[0] * 2
    assert all(pause <= LONGEST_PAUSE_S for pause in longest)
    assert pause_s(10_000) <= LONGEST_PAUSE_S


def test_jitter_only_shortens() -> None:
    drawn = {jittered_s(10.0) for _ in range(100)}
    assert min(drawn) >= 8.0
    assert max(drawn) <= 10.0
    assert len(drawn) > 50


def test_the_engine_gets_what_the_settings_say() -> None:
    settings = NodeSettings(
        engine="synthetic", model=("a.gguf",), model_id=("a",), slots=3, context=512, token_delay_ms=1.5
    )
    (spec,) = settings.engine_specs
    assert (spec.engine, spec.model, spec.model_id) == ("synthetic", "a.gguf", "a")
    assert (spec.slots, spec.context_tokens, spec.threads, spec.token_delay_ms) == (3, 512, None, 1.5)


def test_durations_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="heartbeat"):
        NodeSettings(heartbeat=timedelta(0))
    with pytest.raises(ValueError, match="drain"):
        NodeSettings(drain=timedelta(seconds=-1))


def test_each_of_several_models_gets_its_engine_and_its_name_or_none_has_one() -> None:
    specs = NodeSettings(model=("a.gguf", "b.gguf"), model_id=("a", "b"), slots=2).engine_specs
    assert [(spec.model, spec.model_id, spec.slots) for spec in specs] == [("a.gguf", "a", 2), ("b.gguf", "b", 2)]
    assert [spec.model_id for spec in NodeSettings(model=("a.gguf", "b.gguf")).engine_specs] == [None, None]
    with pytest.raises(ValueError, match="model_id must name every model"):
        NodeSettings(model=("a.gguf", "b.gguf"), model_id=("a",))
