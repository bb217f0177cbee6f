"""The benchmark of engines: what it times is what it says."""

import asyncio
import itertools

import pytest

from benchmarks.engine import AT_ONCE, Figures, Rate, cancel_s, measure, show
from nodes.engine import Engine, EngineSpec
from nodes.engines import open_engine


@pytest.fixture
async def engine() -> Engine:
    engine = open_engine(EngineSpec(engine="synthetic", token_delay_ms=1))
    await engine.start()
    return engine


async def test_a_slot_is_free_when_the_engine_says_so_and_not_when_its_stream_was_closed(engine: Engine) -> None:
    asked = itertools.count()
    still_taken = 25

    def busy_slots() -> int:
        if engine.load().running:
            return 1
        return int(next(asked) < still_taken)

    await asyncio.wait_for(cancel_s(engine, busy_slots, others=0), timeout=20)
    assert next(asked) == still_taken + 1


async def test_others_go_on_beside_a_cancelled_answer_and_are_gone_afterwards(engine: Engine) -> None:
    running: list[int] = []

    def busy_slots() -> int:
        running.append(engine.load().running)
        return running[-1]

    await asyncio.wait_for(cancel_s(engine, busy_slots, others=2), timeout=20)
    assert running[-2:] == [3, 2]
    assert engine.load().running == 0


async def test_an_engine_of_one_slot_is_not_measured_crowded(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    def busy_slots() -> int:
        return engine.load().running

    one = await measure(engine, busy_slots, slots=1, rounds=2, tokens=5)
    assert [len(values) for values in one] == [2, 2, 2, 0]
    show(one)
    assert "beside" not in capsys.readouterr().out
    several = await measure(engine, busy_slots, slots=AT_ONCE, rounds=1, tokens=5)
    assert [len(values) for values in several] == [1, 1, 1, 1]


def test_the_worst_cancel_is_shown_beside_the_usual_one(capsys: pytest.CaptureFixture[str]) -> None:
    slow, fast = (
        [Rate(10.0, 20.0), Rate(30.0, 30.0), Rate(20.0, 25.0)],
        [Rate(20.0, 30.0), Rate(45.0, 45.0), Rate(32.0, 45.0)],
    )
    show(Figures(slow, fast, [0.01, 0.02, 0.19], [0.05]))
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert shown == [
        "one by one: 20.0 tokens/s, 25.0 per second of processor time",
        "4 at once, together: 32.0 tokens/s, 45.0 per second of processor time",
        "gain, median of the rounds: 1.60 by the clock, 1.50 by processor time",
        "cancelled, alone: slot free after 20.0 ms, at most 190.0 ms (3 times)",
        "cancelled, beside 3 others: slot free after 50.0 ms, at most 50.0 ms (1 times)",
    ]
