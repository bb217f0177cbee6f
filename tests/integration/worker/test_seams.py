"""How an attempt joins the text that an earlier one has published: continued, replayed, or begun again."""

import pytest

from nodes.attempts.worker import Worker
from nodes.engine import SyntheticKind
from streams.events import Seam
from streams.messages import Finished, Refused
from streams.subjects import TaskKey
from streams.tasks.chat import Sampling, Usage
from tests.integration.worker.faulty_line import FaultyLine
from tests.integration.worker.played_dispatcher import Answer, until
from tests.integration.worker.scripted_engine import MODEL, ScriptedEngine
from tests.integration.worker.site import Site, paced, text_of
from tests.paced_engine import Pace

TOKENS = 40
SAID = 5
"""How many of them the first attempt gets out."""
SAMPLING = Sampling(max_tokens=TOKENS)


async def begun(site: Site, worker: Worker, pace: Pace, sampling: Sampling = SAMPLING) -> tuple[TaskKey, Answer]:
    """Have a part of an answer published, and its attempt stopped."""
    dispatcher = site.dispatcher
    pace.hold(SAID)
    key = await dispatcher.place(content="tell me", sampling=sampling)
    answer = await dispatcher.tokens_stored(key, SAID)
    dispatcher.stop(key)
    await until(lambda: not worker.running())
    pace.let_go()
    return key, answer


async def report_of(site: Site, key: TaskKey, attempt: int) -> Finished | Refused:
    heard = site.dispatcher
    return await until(
        lambda: next((r for r in (*heard.finished, *heard.refused) if (r.task, r.attempt) == (key.task, attempt)), None)
    )


@pytest.mark.parametrize("seam", ["continued", "replayed"])
async def test_the_reader_cannot_tell_where_the_seam_is(site: Site, seam: Seam) -> None:
    kind: SyntheticKind = "continues" if seam == "continued" else "replays"
    pace = Pace()
    engine = paced(pace, kind=kind)
    async with site.worker(engine) as worker:
        key, before = await begun(site, worker, pace)
        await site.dispatcher.place(content="tell me", sampling=SAMPLING, key=key, seam=seam)
        answer = await site.dispatcher.whole(key)
        assert answer.text == await text_of(engine, "tell me", TOKENS)
    assert 0 < before.state.tokens < TOKENS
    assert answer.text.startswith(before.text)
    assert (answer.state.tokens, answer.state.finish_reason) == (TOKENS, "length")
    assert answer.state.usage == Usage(prompt_tokens=2, completion_tokens=TOKENS)
    assert sum(share.tokens for share in answer.state.shares) == TOKENS
    assert answer.state.shares[0].chars + answer.state.shares[1].chars == len(answer.text)


async def test_nothing_is_published_before_a_replay_has_passed_the_published_part(site: Site) -> None:
    engine = ScriptedEngine()
    async with site.worker(engine) as worker:
        key = await site.dispatcher.place(model=MODEL)
        (await engine.script(1)).say("one two ")
        before = await site.dispatcher.chunks_stored(key, 1)
        await site.dispatcher.place(model=MODEL, key=key, seam="replayed")
        second = await engine.script(2)
        assert second.request.prefix == ""
        second.say("on", "e t", "wo")
        # It is seen to move all the same, or the dispatcher would think that it hangs.
        await until(lambda: [run.tokens for run in worker.running()] == [3])
        assert (await site.dispatcher.answer(key)).stored == before.stored + 1
        second.say(" three ")
        answer = await site.dispatcher.chunks_stored(key, 2)
        assert answer.chunks[-1].text == "three "
        second.say("four")
        second.end()
        answer = await site.dispatcher.whole(key)
    assert answer.text == "one two three four"
    # The first attempt's piece was one token; what came again is not counted again.
    assert [share.tokens for share in answer.state.shares] == [1, 4]
    assert answer.state.usage == Usage(prompt_tokens=1, completion_tokens=5)


async def test_a_replay_that_writes_something_else_is_refused_where_it_differs(site: Site) -> None:
    engine = ScriptedEngine()
    async with site.worker(engine):
        key = await site.dispatcher.place(model=MODEL)
        (await engine.script(1)).say("The capital is Paris")
        before = await site.dispatcher.chunks_stored(key, 1)
        await site.dispatcher.place(model=MODEL, key=key, seam="replayed")
        second = await engine.script(2)
        second.say("The capital", " is Rome, and a long text would follow")
        report = await report_of(site, key, 2)
        await until(lambda: second.closed)
        after = await site.dispatcher.answer(key)
    assert isinstance(report, Refused)
    assert (report.code, report.status) == ("cannot_continue", 503)
    assert "character 15" in report.message
    assert after.text == before.text
    assert after.stored == before.stored + 1


async def test_a_replay_that_ends_too_early_is_refused(site: Site) -> None:
    engine = ScriptedEngine()
    async with site.worker(engine):
        key = await site.dispatcher.place(model=MODEL)
        (await engine.script(1)).say("one two three")
        await site.dispatcher.chunks_stored(key, 1)
        await site.dispatcher.place(model=MODEL, key=key, seam="replayed")
        second = await engine.script(2)
        second.say("one two")
        second.end()
        report = await report_of(site, key, 2)
    assert isinstance(report, Refused)
    assert report.code == "cannot_continue"
    assert "7 of 13" in report.message


async def test_a_replay_of_a_whole_text_adds_its_end_only(site: Site) -> None:
    engine = ScriptedEngine()
    async with site.worker(engine):
        key = await site.dispatcher.place(model=MODEL)
        (await engine.script(1)).say("all of it")
        await site.dispatcher.chunks_stored(key, 1)
        await site.dispatcher.place(model=MODEL, key=key, seam="replayed")
        second = await engine.script(2)
        second.say("all of it")
        second.end()
        answer = await site.dispatcher.whole(key)
    assert answer.text == "all of it"
    assert (answer.state.tokens, answer.state.finish_reason) == (1, "stop")


@pytest.mark.parametrize("kind", ["replays", "varies"])
async def test_an_engine_that_cannot_continue_says_so_at_once(site: Site, kind: SyntheticKind) -> None:
    pace = Pace()
    async with site.worker(paced(pace, kind=kind)) as worker:
        assert [replica.continues for replica in worker.replicas] == [False]
        key, before = await begun(site, worker, pace)
        await site.dispatcher.place(content="tell me", sampling=SAMPLING, key=key, seam="continued")
        report = await report_of(site, key, 2)
        assert isinstance(report, Refused)
        assert (report.code, report.status) == ("cannot_continue", 503)
        assert (await site.dispatcher.answer(key)).text.startswith(before.text)


async def test_what_cannot_be_continued_nor_replayed_begins_again(site: Site) -> None:
    pace = Pace()
    async with site.worker(paced(pace, kind="varies")) as worker:
        key, before = await begun(site, worker, pace)
        await site.dispatcher.place(content="tell me", sampling=SAMPLING, key=key, seam="replayed")
        report = await report_of(site, key, 2)
        assert isinstance(report, Refused)
        assert report.code == "cannot_continue"
        await site.dispatcher.place(content="tell me", sampling=SAMPLING, key=key, seam="restarted")
        assert isinstance(await report_of(site, key, 3), Finished)
        answer = await site.dispatcher.answer(key)
    assert not answer.text.startswith(before.text)
    assert answer.chunks[0].offset == 0
    assert len(answer.text.split()) == answer.state.tokens == TOKENS
    assert answer.state.usage == Usage(prompt_tokens=2, completion_tokens=TOKENS)
    assert [share.tokens for share in answer.state.shares] == [0, 0, TOKENS]


@pytest.mark.parametrize("seam", ["continued", "replayed"])
async def test_a_stop_string_across_the_seam_ends_the_answer_and_never_shows(site: Site, seam: Seam) -> None:
    pace = Pace()
    engine = paced(pace)
    async with site.worker(engine) as worker:
        words = (await text_of(engine, "tell me", TOKENS)).split()
        # What may begin the stop string is held back: the seam comes before it, and its beginning is written again.
        stop = f"{words[SAID]} {words[SAID + 1]} {words[SAID + 2]}"
        sampling = Sampling(max_tokens=TOKENS, stop=(stop,))
        key, _ = await begun(site, worker, pace, sampling)
        await site.dispatcher.place(content="tell me", sampling=sampling, key=key, seam=seam)
        answer = await site.dispatcher.whole(key)
    assert answer.text.split() == words[:SAID]
    assert answer.state.finish_reason == "stop"
    assert answer.state.usage is not None
    assert answer.state.usage.completion_tokens == answer.state.tokens == SAID + 3


async def test_a_last_chunk_without_text_is_not_written_twice(site: Site) -> None:
    """Its acknowledgement is lost with the line; only the dispatcher can say that it is stored."""
    engine = ScriptedEngine()
    async with FaultyLine(site.server.url) as line, site.worker(engine, url=line.url) as worker:
        key = await site.dispatcher.place(model=MODEL)
        script = await engine.script(1)
        script.say("everything")
        await site.dispatcher.chunks_stored(key, 1)
        await until(lambda: not worker._link._waiting)  # it has heard that this one is stored
        line.mute()
        script.end()
        await site.dispatcher.chunks_stored(key, 2)
        line.cut()
        answer = await site.dispatcher.whole(key)
    assert answer.text == "everything"
    assert answer.stored == 3
