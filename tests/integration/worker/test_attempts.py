"""What a node writes while it runs an attempt, and how attempts end."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from nodes.attempts.outbox import PENDING_CHARS
from nodes.engine import Generate, Piece
from nodes.errors import EngineError, RequestRefused
from streams.clock import now_ms
from streams.messages import Refused
from streams.tasks.chat import Sampling, Usage
from tests.integration.worker.played_dispatcher import until
from tests.integration.worker.scripted_engine import MODEL, ScriptedEngine
from tests.integration.worker.site import Site, paced, synthetic, text_of
from tests.paced_engine import Pace


async def test_the_engine_s_tokens_reach_the_stream_whole_and_in_order(site: Site) -> None:
    engine = synthetic(token_delay_ms=2)
    async with site.worker(engine):
        key = await site.dispatcher.place(content="tell me", sampling=Sampling(max_tokens=40))
        answer = await site.dispatcher.whole(key)
        assert answer.text == await text_of(engine, "tell me", 40)
    assert answer.state.tokens == 40
    assert answer.state.finish_reason == "length"
    assert answer.state.usage == Usage(prompt_tokens=2, completion_tokens=40)
    assert answer.stored == 1 + len(answer.chunks), "everything that was stored counts"
    assert [chunk.n for chunk in answer.chunks] == list(range(2, 2 + len(answer.chunks)))
    assert site.dispatcher.asks == []


async def test_many_tasks_at_once_stay_apart(site: Site) -> None:
    engine = synthetic(token_delay_ms=1)
    async with site.worker(engine):
        contents = [f"question number {number}" for number in range(24)]
        place = site.dispatcher.place
        keys = [await place(content=content, sampling=Sampling(max_tokens=30)) for content in contents]
        for key, content in zip(keys, contents, strict=True):
            answer = await site.dispatcher.whole(key)
            assert answer.text == await text_of(engine, content, 30)


async def test_what_comes_while_an_append_is_in_flight_becomes_one_chunk(site: Site) -> None:
    engine = ScriptedEngine()
    async with site.worker(engine):
        key = await site.dispatcher.place(model=MODEL)
        script = await engine.script(1)
        async with site.frozen():
            script.say("first ")
            await until(lambda: script.taken == 1)
            # A few turns of the loop, so that the first piece is on its way before the others come.
            for _ in range(50):
                await asyncio.sleep(0.001)
            script.say("second ", "third ", "fourth")
            script.end()
            await until(lambda: script.closed)
        answer = await site.dispatcher.whole(key)
    assert [chunk.text for chunk in answer.chunks] == ["first ", "second third fourth"]
    assert [chunk.tokens for chunk in answer.chunks] == [1, 3]


async def test_a_piece_is_stored_before_the_next_one_exists(site: Site) -> None:
    engine = ScriptedEngine()
    async with site.worker(engine):
        key = await site.dispatcher.place(model=MODEL)
        script = await engine.script(1)
        for count, text in enumerate(["one ", "two ", "three "], start=1):
            script.say(text)
            answer = await site.dispatcher.chunks_stored(key, count)
            assert answer.chunks[-1].text == text
        script.end()
        assert (await site.dispatcher.whole(key)).text == "one two three "


async def test_an_engine_waits_while_the_stream_does_not_take_more(site: Site) -> None:
    engine = ScriptedEngine()
    async with site.worker(engine):
        key = await site.dispatcher.place(model=MODEL)
        script = await engine.script(1)
        async with site.frozen():
            pieces = [f"{number:01023d} " for number in range(100)]
            script.say(*pieces)
            script.end()
            # One chunk is in flight and one is full; the engine is not asked for the rest, however long it takes.
            most = 2 * PENDING_CHARS // 1024 + 1
            await until(lambda: script.taken >= PENDING_CHARS // 1024 - 1)
            await asyncio.sleep(0.2)
            assert script.taken <= most
        answer = await site.dispatcher.whole(key)
    assert answer.text == "".join(pieces)


async def test_a_stop_ends_the_engine_and_writes_nothing_more(site: Site) -> None:
    engine = ScriptedEngine()
    async with site.worker(engine) as worker:
        key = await site.dispatcher.place(model=MODEL)
        script = await engine.script(1)
        script.say("heard ")
        before = await site.dispatcher.chunks_stored(key, 1)
        site.dispatcher.stop(key)
        await until(lambda: script.closed)
        await until(lambda: not worker.running())
        after = await site.dispatcher.answer(key)
    assert after.stored == before.stored
    assert site.dispatcher.finished == []
    assert site.dispatcher.refused == []


async def test_a_stop_of_an_older_attempt_leaves_the_current_one_alone(site: Site) -> None:
    engine = ScriptedEngine()
    async with site.worker(engine):
        key = await site.dispatcher.place(model=MODEL)
        await until(lambda: len(engine.scripts) == 1)
        await site.dispatcher.place(model=MODEL, key=key)
        second = await engine.script(2)
        site.dispatcher.stop(key, attempt=1)
        second.say("still here")
        second.end()
        assert (await site.dispatcher.whole(key)).text == "still here"


async def test_a_newer_attempt_replaces_the_older_one_on_the_same_node(site: Site) -> None:
    engine = ScriptedEngine(slots=1)
    async with site.worker(engine) as worker:
        key = await site.dispatcher.place(model=MODEL)
        first = await engine.script(1)
        first.say("The answer ")
        await site.dispatcher.chunks_stored(key, 1)
        await site.dispatcher.place(model=MODEL, key=key)
        second = await engine.script(2)
        assert first.closed
        assert second.request.prefix == "The answer "
        assert [run.attempt for run in worker.running()] == [2]
        second.say("goes on")
        second.end()
        answer = await site.dispatcher.whole(key)
    assert answer.text == "The answer goes on"
    assert [share.chars for share in answer.state.shares] == [11, 7]


async def test_an_answer_in_two_attempts_is_one_answer_to_its_user(site: Site) -> None:
    pace = Pace()
    pace.hold(5)
    async with site.worker(paced(pace)):
        key = await site.dispatcher.place(content="tell me", sampling=Sampling(max_tokens=40))
        await site.dispatcher.tokens_stored(key, 5)
        await site.dispatcher.place(content="tell me", sampling=Sampling(max_tokens=40), key=key)
        pace.let_go()
        answer = await site.dispatcher.whole(key)
    quick = synthetic()
    await quick.start()
    assert answer.text == await text_of(quick, "tell me", 40)
    assert answer.state.tokens == 40
    assert answer.state.usage == Usage(prompt_tokens=2, completion_tokens=40)
    assert answer.state.finish_reason == "length"
    assert [share.tokens for share in answer.state.shares] == [5, 35]


async def test_an_answer_whose_last_words_are_published_only_needs_its_end(site: Site) -> None:
    engine = ScriptedEngine()
    sampling = Sampling(max_tokens=3)
    async with site.worker(engine):
        key = await site.dispatcher.place(model=MODEL, sampling=sampling)
        first = await engine.script(1)
        for count, text in enumerate(("one ", "two ", "three"), start=1):
            first.say(text)
            await site.dispatcher.chunks_stored(key, count)
        await site.dispatcher.place(model=MODEL, sampling=sampling, key=key)
        second = await engine.script(2)
        assert second.request.sampling.max_tokens == 1
        second.say(" four")
        second.end(" and more")
        answer = await site.dispatcher.whole(key)
    assert answer.text == "one two three"
    assert answer.state.usage == Usage(prompt_tokens=0, completion_tokens=3)
    assert (answer.state.tokens, answer.state.finish_reason) == (3, "length")


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (RequestRefused("context_length_exceeded", "too long"), "context_length_exceeded", 400),
        (EngineError("out of luck"), "engine_error", 500),
        (ZeroDivisionError("a bug"), "engine_error", 500),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
async def test_an_engine_that_raises_refuses_its_task_and_no_other(
    site: Site, error: Exception, code: str, status: int
) -> None:
    engine = ScriptedEngine()
    async with site.worker(engine):
        broken, sound = await site.dispatcher.place(model=MODEL), await site.dispatcher.place(model=MODEL)
        await until(lambda: len(engine.scripts) == 2)
        engine.scripts[0].say("so far ")
        engine.scripts[0].fail(error)
        report = await site.dispatcher.report_of(broken)
        engine.scripts[1].end("unharmed")
        assert (await site.dispatcher.whole(sound)).text == "unharmed"
        assert (await site.dispatcher.answer(broken)).text == "so far "
    assert isinstance(report, Refused)
    assert (report.code, report.status) == (code, status)


class _Endless(ScriptedEngine):
    """Ends without a last piece."""

    async def generate(self, request: Generate) -> AsyncGenerator[Piece, None]:
        yield Piece(text="and then")


async def test_an_engine_that_ends_without_a_reason_is_refused(site: Site) -> None:
    async with site.worker(_Endless()):
        report = await site.dispatcher.report_of(await site.dispatcher.place(model=MODEL))
    assert isinstance(report, Refused)
    assert (report.code, report.status) == ("engine_error", 500)


async def test_an_attempt_past_its_deadline_is_given_up(site: Site) -> None:
    engine, ahead_ms = ScriptedEngine(), 1000
    async with site.worker(engine):
        while True:
            key = await site.dispatcher.place(model=MODEL, deadline_at_ms=now_ms() + ahead_ms)
            report = await site.dispatcher.report_of(key)
            if engine.scripts:
                break
            # It was over before this machine had got as far as to begin.
            ahead_ms *= 2
    assert isinstance(report, Refused)
    assert (report.code, report.status) == ("deadline_exceeded", 408)
    assert engine.scripts[0].closed
