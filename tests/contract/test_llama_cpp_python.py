"""What continuous batching of our own must keep: answers share the steps of the model and nothing else."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from nodes.engine import EngineSpec, Generate
from nodes.engines.llama.context import LlamaContext
from nodes.engines.llama.llama_cpp_python import LlamaCppPythonEngine
from nodes.engines.llama.sampler import LlamaSampler
from nodes.errors import EngineError
from streams.tasks.chat import Message, Sampling
from streams.tasks.tools import OutputFormat
from tests.contract.prompts import PROMPTS
from tests.contract.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

LIMIT_S = 30.0
SLOTS = 4


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[LlamaCppPythonEngine]:
    engine = LlamaCppPythonEngine(EngineSpec(engine="llama-cpp-python", context_tokens=512), lambda _: None)
    assert (await engine.start()).slots == SLOTS
    yield engine
    await engine.stop()


def ask(messages: tuple[Message, ...], *, prefix: str = "", **sampling: Any) -> Generate:
    return Generate(messages=messages, prefix=prefix, sampling=Sampling(**sampling))


async def text_of(engine: LlamaCppPythonEngine, request: Generate) -> str:
    return "".join([piece.text async for piece in engine.generate(request)])


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When each step of the model ended."""
    compute, ended = LlamaContext.compute, []

    def counted(context: LlamaContext) -> None:
        compute(context)
        ended.append(time.monotonic())

    monkeypatch.setattr(LlamaContext, "compute", counted)
    return ended


async def test_answers_at_once_share_the_steps(
    engine: LlamaCppPythonEngine, steps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ask(PROMPTS["story"], temperature=0, max_tokens=20)
    await text_of(engine, request)
    alone = len(steps)
    compute, all_have_asked = LlamaContext.compute, threading.Event()

    def held(context: LlamaContext) -> None:
        # However long this machine leaves the test waiting, the first answer does not go on without the others.
        all_have_asked.wait(LIMIT_S)
        compute(context)

    monkeypatch.setattr(LlamaContext, "compute", held)
    answers = [asyncio.create_task(text_of(engine, request)) for _ in range(SLOTS)]
    await eventually(lambda: engine.load().running == SLOTS)
    all_have_asked.set()
    await asyncio.gather(*answers)
    assert len(steps) - alone < 2 * alone


async def test_a_prompt_that_is_read_can_be_cancelled_within_a_step(
    engine: LlamaCppPythonEngine, steps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    long = ask((Message(role="user", content="word " * 440),), max_tokens=1)
    await text_of(engine, long)
    whole = len(steps)
    compute, go_on = LlamaContext.compute, threading.Event()

    def held(context: LlamaContext) -> None:
        compute(context)
        # However long this machine leaves the test waiting, the model is not further than this when it cancels.
        go_on.wait(LIMIT_S)

    monkeypatch.setattr(LlamaContext, "compute", held)
    async with aclosing(engine.generate(long)) as answer:
        reading = asyncio.ensure_future(anext(answer))
        await eventually(lambda: len(steps) > whole)
        reading.cancel()
        # Some turns of the loop, in which the engine hears of it.
        for _ in range(20):
            await asyncio.sleep(0)
        go_on.set()
        await asyncio.wait([reading])
    assert engine.load().running == 0
    assert len(steps) - whole < whole / 2


async def test_penalties_count_what_was_written_before_the_seam(engine: LlamaCppPythonEngine) -> None:
    again = ask((Message(role="user", content="Say the word sea again and again."),), prefix="sea sea sea sea sea sea")
    plain = Sampling(temperature=0, max_tokens=6)
    penalised = Sampling(temperature=0, max_tokens=6, frequency_penalty=2.0, presence_penalty=2.0)
    texts = [
        await text_of(engine, Generate(messages=again.messages, prefix=again.prefix, sampling=sampling))
        for sampling in (plain, penalised)
    ]
    assert "sea" in texts[0]
    assert "sea" not in texts[1]


async def test_a_grammar_looks_at_the_other_tokens_only_where_it_refuses_the_chosen_one(
    engine: LlamaCppPythonEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = OutputFormat(kind="json_schema", schema_json='{"enum": ["The quick brown fox jumps over the lazy dog."]}')
    request = Generate(
        messages=(
            Message(role="user", content='Write in quotation marks: "The quick brown fox jumps over the lazy dog."'),
        ),
        sampling=Sampling(temperature=0, max_tokens=40),
        format=shape,
    )
    verdicts: list[bool] = []
    may_stand = LlamaSampler._may_stand

    def counted(sampler: LlamaSampler, token: int) -> bool:
        verdicts.append(may_stand(sampler, token))
        return verdicts[-1]

    monkeypatch.setattr(LlamaSampler, "_may_stand", counted)
    assert json.loads(await text_of(engine, request)) == "The quick brown fox jumps over the lazy dog."
    assert verdicts.count(False) < verdicts.count(True)

    monkeypatch.setattr(LlamaSampler, "_may_stand", lambda sampler, token: False)
    assert json.loads(await text_of(engine, request)) == "The quick brown fox jumps over the lazy dog."


async def test_a_step_that_fails_fails_its_answers_and_the_next_ones_run(
    engine: LlamaCppPythonEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(context: LlamaContext) -> None:
        raise EngineError("a step failed")

    request = ask(PROMPTS["story"], temperature=0, max_tokens=12)
    before = await text_of(engine, request)
    with monkeypatch.context() as patched:
        patched.setattr(LlamaContext, "compute", fail)
        outcomes = await asyncio.gather(*(text_of(engine, request) for _ in range(SLOTS)), return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["a step failed"] * SLOTS
    assert await text_of(engine, request) == before


async def test_what_the_binding_leaves_open_is_closed_when_the_process_ends() -> None:
    imports = "from nodes.engines.llama.library import import_binding; import_binding('llama_cpp')"
    command = (sys.executable, "-W", "error", "-c", imports)
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, complaints = await process.communicate()
    assert (process.returncode, complaints) == (0, b"")
