"""What every engine does alike. A new engine is one more `Case`; nothing changes here.

The engines with a model need their packages: a missing one fails here with the command that installs it.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from nodes.engine import Engine, Generate, Loading, Piece
from nodes.errors import EngineUnavailable
from streams.tasks.chat import Message, Role, Sampling
from tests.contract.asking import ask, pieces_of, refusal_of, text_of
from tests.contract.engine_cases import CASES, WITH_FILE, Case, Started, servers_running, start
from tests.contract.waiting import under_way

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(180),
    # LiteLLM's own.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


STORY = "Tell me a long story about the sea."
LONG = 400
"""Tokens of an answer that a test never waits for."""


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[None]:
    async with servers_running(tmp_path_factory.mktemp("vllm")):
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=CASES, ids=str)
async def started(request: pytest.FixtureRequest):
    running = await start(request.param)
    yield running
    await running.engine.stop()


@pytest.fixture
def engine(started: Started) -> Engine:
    return started.engine


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def story(started: Started) -> list[Piece]:
    """The beginning of one uninterrupted greedy answer."""
    return await pieces_of(started.engine, ask(STORY, max_tokens=20))


# --- start -------------------------------------------------------------------------------------------------------


async def test_start_says_what_the_replica_is(started: Started) -> None:
    replica = started.replica
    assert (replica.engine, replica.model) == (started.case.spec.engine, started.case.model)
    assert replica.context_tokens == 512
    assert replica.slots >= 1
    assert replica.tokens_per_s is not None
    if started.case.has_model:
        facts = (None, None) if replica.engine == "litellm" else ("Q4_1", 134_515_008)
        assert (replica.quantisation, replica.parameters) == facts
        assert replica.prompt_tokens_per_s is not None
    if started.case in WITH_FILE:
        assert replica.file_bytes == 98_362_432
        assert replica.memory_bytes is not None
        assert replica.memory_bytes >= 98_362_432


async def test_loading_is_reported_in_order_up_to_ready(started: Started) -> None:
    fractions = [step.fraction for step in started.loading]
    assert fractions == sorted(fractions)
    assert started.loading[-1] == Loading(stage="ready", fraction=1.0)


# --- pieces and usage --------------------------------------------------------------------------------------------


async def test_an_answer_streams_in_pieces_and_only_the_last_ends_it(story: list[Piece]) -> None:
    assert len([piece for piece in story if piece.text]) > 10
    assert all(piece.finish_reason is None and piece.usage is None for piece in story[:-1])
    assert story[-1].finish_reason is not None
    assert story[-1].usage is not None


async def test_the_tokens_of_the_pieces_add_up_to_the_usage(story: list[Piece]) -> None:
    assert story[-1].usage is not None
    assert sum(piece.tokens for piece in story) == story[-1].usage.completion_tokens == 20


@pytest.mark.parametrize("max_tokens", [1, 2, 7])
async def test_max_tokens_is_kept_exactly(engine: Engine, max_tokens: int, story: list[Piece]) -> None:
    pieces = await pieces_of(engine, ask(STORY, max_tokens=max_tokens))
    assert pieces[-1].finish_reason == "length"
    assert pieces[-1].usage is not None
    assert pieces[-1].usage.completion_tokens == max_tokens
    assert text_of(story).startswith(text_of(pieces))


async def test_a_longer_prompt_has_more_prompt_tokens(engine: Engine) -> None:
    counts = []
    for question in ("one", "one two three four five six"):
        usage = (await pieces_of(engine, ask(question, max_tokens=1)))[-1].usage
        assert usage is not None
        counts.append(usage.prompt_tokens)
    assert 0 < counts[0] < counts[1]


async def test_the_models_own_template_frames_the_messages(started: Started) -> None:
    if not started.case.has_model:
        usage = (await pieces_of(started.engine, ask("hi there", max_tokens=1)))[-1].usage
        assert usage is not None
        assert usage.prompt_tokens == 2
        return
    # SmolLM2's template adds a system message of its own where there is none; both bindings must render it alike.
    bare = (await pieces_of(started.engine, ask("hi", max_tokens=1)))[-1].usage
    assert bare is not None
    assert bare.prompt_tokens == 31
    own = (Message(role="developer", content="Be brief."), Message(role="user", content="hi"))
    with_own = await pieces_of(started.engine, Generate(messages=own, sampling=Sampling(max_tokens=1)))
    assert with_own[-1].usage is not None
    assert with_own[-1].usage.prompt_tokens == 18


async def test_the_end_of_the_models_turn_ends_the_answer(started: Started) -> None:
    pieces = await pieces_of(started.engine, ask("What is the capital of France? Answer with its name only."))
    assert pieces[-1].finish_reason == "stop"
    if started.case.has_model:
        assert "Paris" in text_of(pieces)
        assert "<|im_end|>" not in text_of(pieces)
    else:
        assert pieces[-1].usage is not None
        assert pieces[-1].usage.completion_tokens == started.case.turn_tokens


# --- sampling ----------------------------------------------------------------------------------------------------


async def test_a_stop_string_across_pieces_ends_the_answer_and_never_shows(engine: Engine, story: list[Piece]) -> None:
    text = text_of(story)
    boundary = len(text_of(story[:8]))
    stop = text[boundary - 2 : boundary + 2]
    pieces = await pieces_of(engine, ask(STORY, max_tokens=20, stop=("never said", stop)))
    assert text_of(pieces) == text[: text.index(stop)]
    assert pieces[-1].finish_reason == "stop"
    assert pieces[-1].usage is not None
    assert sum(piece.tokens for piece in pieces) == pieces[-1].usage.completion_tokens


async def test_what_only_began_like_a_stop_string_is_shown(started: Started, story: list[Piece]) -> None:
    text = text_of(story)
    stop = f"{text[-3:]}§"
    pieces = await pieces_of(started.engine, ask(STORY, max_tokens=20, stop=(stop,)))
    if started.replica.engine == "litellm":
        # It hands stop strings on, and llama-server loses what it holds back when max_tokens comes meanwhile.
        assert text.startswith(text_of(pieces))
        assert text_of(pieces).startswith(text_of(story[:-3]))
    else:
        assert text_of(pieces) == text
    assert pieces[-1].finish_reason == "length"


async def test_temperature_0_repeats_itself(engine: Engine, story: list[Piece]) -> None:
    assert text_of(await pieces_of(engine, ask(STORY, max_tokens=20))) == text_of(story)


@pytest.mark.parametrize("seed", [7, -1, 2**63 - 1])
async def test_a_seed_repeats_itself(engine: Engine, seed: int) -> None:
    request = ask(STORY, max_tokens=12, temperature=1.5, seed=seed)
    assert text_of(await pieces_of(engine, request)) == text_of(await pieces_of(engine, request))


async def test_seeds_differ(started: Started) -> None:
    requests = [ask(STORY, max_tokens=12, temperature=1.5, seed=seed) for seed in (1, 2, 3)]
    texts = {text_of(await pieces_of(started.engine, request)) for request in requests}
    assert len(texts) > 1 if started.case.has_model else len(texts) == 1


async def test_text_is_cut_at_whole_characters(engine: Engine) -> None:
    question = "Repeat exactly: 🦄🦄🦄🦄"
    whole = text_of(await pieces_of(engine, ask(question, max_tokens=12)))
    for max_tokens in range(2, 9):
        pieces = await pieces_of(engine, ask(question, max_tokens=max_tokens))
        assert whole.startswith(text_of(pieces))
        assert "\ufffd" not in text_of(pieces)


# --- going on where an answer was cut ----------------------------------------------------------------------------


async def test_an_answer_goes_on_behind_its_prefix(started: Started, story: list[Piece]) -> None:
    """See `test_prompts.py` for many answers and cuts of the engines with a model."""
    assert started.replica.continues
    engine = started.engine
    for published in (story[:1], story[:7]):
        request = ask(STORY, prefix=text_of(published), max_tokens=20 - sum(piece.tokens for piece in published))
        assert engine.can_continue(request)
        rest = await pieces_of(engine, request)
        assert text_of(published) + text_of(rest) == text_of(story)
        assert rest[-1].finish_reason == story[-1].finish_reason
        assert rest[-1].usage is not None
        assert sum(piece.tokens for piece in rest) == rest[-1].usage.completion_tokens


async def test_a_trailing_assistant_message_is_continued(engine: Engine, story: list[Piece]) -> None:
    begun = text_of(story[:6])
    messages = (Message(role="user", content=STORY), Message(role="assistant", content=begun))
    request = Generate(messages=messages, sampling=Sampling(temperature=0, max_tokens=6))
    assert text_of(story).startswith(begun + text_of(await pieces_of(engine, request)))


# --- refusals ----------------------------------------------------------------------------------------------------


async def test_too_long_a_prompt_is_refused_before_anything_is_generated(engine: Engine) -> None:
    refused = await refusal_of(engine, ask("word " * 600, max_tokens=1))
    assert refused.code == "context_length_exceeded"
    assert "512" in refused.message
    assert engine.load().running == 0


@pytest.mark.parametrize("roles", [(), ("assistant",), ("user", "assistant", "assistant")])
async def test_messages_that_ask_nothing_are_refused(engine: Engine, roles: tuple[Role, ...]) -> None:
    messages = tuple(Message(role=role, content="x") for role in roles)
    assert (await refusal_of(engine, Generate(messages=messages))).code == "invalid_messages"


async def test_a_refused_request_leaves_the_engine_able(engine: Engine, story: list[Piece]) -> None:
    await refusal_of(engine, Generate(messages=()))
    await refusal_of(engine, ask("word " * 600))
    assert text_of(await pieces_of(engine, ask(STORY, max_tokens=20))) == text_of(story)


# --- several at once, cancelling, stopping -----------------------------------------------------------------------

CAPITALS = {"France": "Paris", "Japan": "Tokyo", "Egypt": "Cairo", "Germany": "Berlin", "Greece": "Athens"}


async def test_requests_at_once_all_finish_unmixed(started: Started) -> None:
    requests = [
        ask(f"What is the capital of {country}? Answer with its name only.", max_tokens=10) for country in CAPITALS
    ]
    answers = await asyncio.gather(*(pieces_of(started.engine, request) for request in requests))
    for request, answer, capital in zip(requests, answers, CAPITALS.values(), strict=True):
        assert answer[-1].finish_reason is not None
        if started.case.has_model:  # not compared with the answer alone: batches differ in the last bits
            assert capital in text_of(answer)
        else:
            assert answer == await pieces_of(started.engine, request)


async def test_a_repeated_request_takes_nothing_from_the_one_before(started: Started) -> None:
    for _ in range(2):
        usage = (await pieces_of(started.engine, ask(STORY, max_tokens=1)))[-1].usage
        assert usage is not None
        # What a server has kept is its own affair, and told as it tells it; the last token is always read anew.
        assert usage.cached_prompt_tokens <= (0 if started.case.is_here else usage.prompt_tokens - 1)


async def test_closing_the_answer_frees_its_slot(engine: Engine) -> None:
    async with aclosing(engine.generate(ask(STORY, max_tokens=LONG))) as answer:
        for _ in range(3):
            await anext(answer)
        assert engine.load().running == 1
    assert engine.load().running == 0


def long_answers(engine: Engine, count: int) -> Callable[[], list[Coroutine[None, None, list[Piece]]]]:
    return lambda: [pieces_of(engine, ask(STORY, max_tokens=LONG)) for _ in range(count)]


async def test_cancelling_the_consumer_frees_its_slot(engine: Engine) -> None:
    [consumer] = await under_way(long_answers(engine, 1), lambda: engine.load().running == 1)
    consumer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await consumer
    assert engine.load().running == 0


async def test_a_request_that_waits_for_a_slot_can_be_cancelled(started: Started) -> None:
    engine = started.engine
    slots = started.replica.slots
    # Where a word costs nothing, nobody ever waits.
    wanted = (slots, 1) if started.case.waits else (slots + 1, 0)
    consumers = await under_way(
        long_answers(engine, slots + 1), lambda: (engine.load().running, engine.load().waiting) == wanted
    )
    for consumer in reversed(consumers):
        consumer.cancel()
    await asyncio.wait(consumers)
    assert (engine.load().running, engine.load().waiting) == (0, 0)


async def test_a_slow_consumer_gets_everything(engine: Engine, story: list[Piece]) -> None:
    pieces = []
    async for piece in engine.generate(ask(STORY, max_tokens=20)):
        pieces.append(piece)
        await asyncio.sleep(0.05 if len(pieces) < 4 else 0)
    assert text_of(pieces) == text_of(story)


async def test_the_event_loop_runs_on_while_the_engine_generates(engine: Engine) -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counter = asyncio.create_task(count_turns())
    tokens = await pieces_of(engine, ask(STORY, max_tokens=10))
    counter.cancel()
    assert turns > len(tokens)


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_stopping_ends_every_answer_and_leaves_nothing_running(case: Case) -> None:
    running = await start(case)
    engine = running.engine
    slots = running.replica.slots
    consumers = await under_way(long_answers(engine, 3), lambda: engine.load().running == min(3, slots))
    await engine.stop()
    for outcome in await asyncio.gather(*consumers, return_exceptions=True):
        assert isinstance(outcome, EngineUnavailable)
    assert (engine.load().running, engine.load().waiting) == (0, 0)
    with pytest.raises(EngineUnavailable):
        await pieces_of(engine, ask("hi"))
    await engine.stop()


@pytest.mark.parametrize("case", WITH_FILE, ids=str)
async def test_loading_and_measuring_is_silent(case: Case, capfd: pytest.CaptureFixture[str]) -> None:
    running = await start(case)
    await running.engine.stop()
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
