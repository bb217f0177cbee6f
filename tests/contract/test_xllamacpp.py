"""What the default engine must not bring along from the server that it is made of."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import tempfile
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from nodes.engine import EngineSpec, Generate
from nodes.engines.llama.xllamacpp import XllamacppEngine
from streams.tasks.chat import Message, Sampling
from tests.contract.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from nodes.engine import Piece

pytestmark = pytest.mark.timeout(180)

STORY = Generate(
    messages=(Message(role="user", content="Tell me a long story."),), sampling=Sampling(max_tokens=200, temperature=0)
)

TRIES = 10


@pytest_asyncio.fixture
async def engine() -> AsyncIterator[XllamacppEngine]:
    engine = XllamacppEngine(EngineSpec(context_tokens=512, slots=2), lambda _: None)
    await engine.start()
    yield engine
    await engine.stop()


def open_sockets() -> list[socket.socket]:
    """Every socket of this process, as a copy to look at."""
    entries = [entry for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    numbers = [int(entry.name) for entry in entries if str(entry.readlink()).startswith("socket:")]
    return [socket.socket(fileno=os.dup(number)) for number in numbers]


def listening_addresses() -> set[str]:
    found: set[str] = set()
    for copy in open_sockets():
        with copy:
            if copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                found.add(str(copy.getsockname()))
    return found


async def test_nobody_can_connect_to_the_server_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    before = listening_addresses()
    # A folder of its own, since others of this machine make theirs in the usual one.
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        await check_that_nobody_can_connect(before)
        assert list(Path(folder).iterdir()) == []


async def check_that_nobody_can_connect(before: set[str]) -> None:
    engine = XllamacppEngine(EngineSpec(context_tokens=512, slots=2), lambda _: None)
    await engine.start()
    opened = listening_addresses() - before
    assert len(opened) == 1  # it does listen, which shows that this test can see it
    assert not Path(opened.pop()).exists()
    assert list(Path(tempfile.gettempdir()).iterdir()) == []
    await engine.stop()
    assert listening_addresses() == before


async def test_loading_leaves_the_signals_to_the_process() -> None:
    caught: list[int] = []
    before = {
        number: signal.signal(number, lambda n, _: caught.append(n)) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        engine = XllamacppEngine(EngineSpec(context_tokens=512, slots=2), lambda _: None)
        await engine.start()
        for number in before:
            signal.raise_signal(number)
        await engine.stop()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert caught == [signal.SIGINT, signal.SIGTERM]


async def test_the_engine_below_is_idle_after_a_cancel(engine: XllamacppEngine) -> None:
    was_busy = False
    while not was_busy:  # on a machine that stalls the answer may be whole before we have looked
        async with aclosing(engine.generate(STORY)) as answer:
            await anext(answer)
            was_busy = engine.busy_slots() == 1
    await eventually(lambda: engine.busy_slots() == 0)


def steps_of(engine: XllamacppEngine) -> int:
    metrics = str(engine._server.handle_metrics())
    count = re.search(r"llamacpp:n_decode_total (\d+)", metrics)
    assert count is not None
    return int(count[1])


async def being_read(engine: XllamacppEngine, long: Generate) -> tuple[asyncio.Task[Piece], int]:
    """A prompt that is read at this moment, and the steps of the model before it."""
    while True:
        before = steps_of(engine)
        reading = asyncio.create_task(anext(engine.generate(long)))
        while not reading.done():
            if engine.busy_slots() == 1:
                return reading, before
            await asyncio.sleep(0.01)
        # On a busy machine it may be read before we have looked: then once more.


async def steps_of_a_cancelled(engine: XllamacppEngine, long: Generate) -> int:
    """How far a prompt is read that is cancelled meanwhile."""
    consumer, before = await being_read(engine, long)
    consumer.cancel()
    await asyncio.wait([consumer])
    assert engine.load().running == 0
    await eventually(lambda: engine.busy_slots() == 0)
    return steps_of(engine) - before


async def test_a_prompt_can_be_cancelled_while_it_is_read(engine: XllamacppEngine) -> None:
    long = Generate(messages=(Message(role="user", content="word " * 440),), sampling=Sampling(max_tokens=1))
    before = steps_of(engine)
    assert [piece async for piece in engine.generate(long)][-1].usage is not None
    whole_prompt = steps_of(engine) - before
    # On a machine that stalls the rest may be read before the engine has heard of it, but not each time.
    for _ in range(TRIES):
        read = await steps_of_a_cancelled(engine, long)
        if read < whole_prompt:
            break
    assert read < whole_prompt


async def test_two_engines_live_in_one_process(engine: XllamacppEngine) -> None:
    other = XllamacppEngine(EngineSpec(context_tokens=256, slots=1, model_id="other"), lambda _: None)
    replica = await other.start()
    assert (replica.model, replica.slots) == ("other", 1)
    await other.stop()
    async with aclosing(engine.generate(STORY)) as answer:
        assert (await anext(answer)).text
