"""Generations in threads: order, errors, cancelling, stopping."""

from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing

import pytest

from nodes.engine import EngineLoad, Piece
from nodes.engines.lanes import Lanes, PieceSink
from nodes.errors import EngineError, EngineUnavailable, RequestRefused


def count_to(n: int):
    def work(sink: PieceSink) -> None:
        for i in range(n):
            sink.put(Piece(text=str(i)))

    return work


class Endless:
    """Work that goes on until it is told to stop, and tells when it really ended."""

    def __init__(self) -> None:
        self.ended = threading.Event()

    def __call__(self, sink: PieceSink) -> None:
        while not sink.closed:
            sink.put(Piece(text="."))
            self.ended.wait(0.001)
        self.ended.set()


async def test_pieces_arrive_in_order_and_end() -> None:
    lanes = Lanes(1)
    assert [piece.text async for piece in lanes.stream(count_to(100))] == [str(i) for i in range(100)]
    assert lanes.load() == EngineLoad(running=0, waiting=0)
    await lanes.stop()


async def test_an_engine_error_reaches_the_consumer_behind_the_pieces_before_it() -> None:
    def work(sink: PieceSink) -> None:
        sink.put(Piece(text="one"))
        raise RequestRefused("invalid_messages", "no")

    lanes = Lanes(1)
    pieces = lanes.stream(work)
    assert (await anext(pieces)).text == "one"
    with pytest.raises(RequestRefused, match="no"):
        await anext(pieces)
    await lanes.stop()


async def test_whatever_a_binding_raises_comes_as_an_engine_error() -> None:
    def work(sink: PieceSink) -> None:
        raise KeyError("slot")

    lanes = Lanes(1)
    with pytest.raises(EngineError, match="KeyError") as failed:
        await anext(lanes.stream(work))
    assert isinstance(failed.value.__cause__, KeyError)
    assert [piece.text async for piece in lanes.stream(count_to(1))] == ["0"]
    await lanes.stop()


async def test_requests_above_the_slots_wait_in_order() -> None:
    lanes = Lanes(1)
    order: list[int] = []

    async def run(i: int) -> None:
        assert len([piece async for piece in lanes.stream(count_to(3))]) == 3
        order.append(i)

    async with aclosing(lanes.stream(Endless())) as first:
        await anext(first)
        others = [asyncio.create_task(run(i)) for i in range(3)]
        await asyncio.sleep(0)
        assert lanes.load() == EngineLoad(running=1, waiting=3)
    await asyncio.gather(*others)
    assert order == [0, 1, 2]
    await lanes.stop()


async def test_closing_returns_only_when_the_thread_let_go() -> None:
    lanes, work = Lanes(1), Endless()
    async with aclosing(lanes.stream(work)) as pieces:
        await anext(pieces)
    assert work.ended.is_set()
    assert lanes.load().running == 0
    await lanes.stop()


async def test_a_lane_stays_taken_while_its_thread_works_on_though_nobody_waits_for_it() -> None:
    release = threading.Event()

    def stubborn(sink: PieceSink) -> None:
        sink.put(Piece(text="."))
        release.wait()

    lanes = Lanes(1)

    async def consume() -> None:
        async for _ in lanes.stream(stubborn):
            pass

    consumer = asyncio.create_task(consume())
    for _ in range(3):  # to where it waits for a piece, then for the thread, then out
        await asyncio.sleep(0.01)
        consumer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await consumer
    assert lanes.load().running == 1
    release.set()
    await lanes.stop()
    assert lanes.load().running == 0


async def test_stopping_ends_those_that_run_and_those_that_wait() -> None:
    lanes, work = Lanes(1), Endless()

    async def run() -> None:
        async for _ in lanes.stream(work):
            pass

    consumers = [asyncio.create_task(run()) for _ in range(3)]
    await asyncio.sleep(0)
    assert lanes.load() == EngineLoad(running=1, waiting=2)
    await lanes.stop()
    assert work.ended.is_set()
    outcomes = await asyncio.gather(*consumers, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [EngineUnavailable] * 3
    with pytest.raises(EngineUnavailable):
        await anext(lanes.stream(count_to(1)))
