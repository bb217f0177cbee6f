"""What a node does when it cannot know whether it wrote, or whether it still may."""

import os
import signal
from datetime import timedelta

import msgspec
import pytest

from streams.events import TaskChunk, TaskHalted
from streams.messages import Refused
from streams.subjects import MESH
from tests.integration.worker.faulty_line import FaultyLine
from tests.integration.worker.played_dispatcher import until
from tests.integration.worker.scripted_engine import MODEL, ScriptedEngine
from tests.integration.worker.site import Site

("node-1")


async def test_a_stranger_s_event_in_between_makes_no_gap_and_no_repeat(site: Site) -> None:
    engine = ScriptedEngine()
    async with site.worker(engine):
        key = await site.dispatcher.place(model=MODEL)
        script = await engine.script(1)
        script.say("before ")
        await site.dispatcher.chunks_stored(key, 1)
        stray = TaskChunk(n=3, attempt=1, offset=7, text="stray", tokens=1)
        await site.dispatcher.append_foreign(key, "stranger", stray)
        script.say("after")
        script.end()
        answer = await site.dispatcher.whole(key)
    assert answer.text == "before after"
    assert [chunk.n for chunk in answer.chunks] == list(range(2, 2 + len(answer.chunks)))
    assert len(site.dispatcher.asks) == 1


async def test_a_voided_attempt_stops_its_engine_and_writes_nothing_more(site: Site) -> None:
    engine = ScriptedEngine()
    async with site.worker(engine) as worker:
        key = await site.dispatcher.place(model=MODEL)
        script = await engine.script(1)
        script.say("mine ")
        answer = await site.dispatcher.chunks_stored(key, 1)
        halted = TaskHalted(n=answer.state.n + 1, at_ms=0, reason="given to another node")
        await site.dispatcher.append_foreign(key, MESH, halted)
        script.say("no longer mine")
        await until(lambda: script.closed)
        await until(lambda: not worker.running())
        after = await site.dispatcher.answer(key)
    assert after.stored == answer.stored + 1
    assert site.dispatcher.finished == []
    assert site.dispatcher.refused == []


async def test_a_renewed_grant_is_no_second_run(site: Site) -> None:
    engine = ScriptedEngine()
    async with site.worker(engine) as worker:
        key = await site.dispatcher.place(model=MODEL)
        script = await engine.script(1)
        script.say("once ")
        await site.dispatcher.chunks_stored(key, 1)
        # The first grant says where the first chunk went: newer knowledge of the node's own must win.
        site.dispatcher.hand(key, site.dispatcher.assigned[key.task])
        script.say("only")
        script.end()
        answer = await site.dispatcher.whole(key)
        assert worker.running() == ()
    assert answer.text == "once only"
    assert len(engine.scripts) == 1
    assert site.dispatcher.asks == []


async def test_a_lost_connection_loses_the_grant_and_the_node_gets_it_again(site: Site) -> None:
    engine = ScriptedEngine()
    async with FaultyLine(site.server.url) as line, site.worker(engine, url=line.url):
        key = await site.dispatcher.place(model=MODEL)
        script = await engine.script(1)
        script.say("before ")
        await site.dispatcher.chunks_stored(key, 1)
        line.cut()
        script.say("after")
        script.end()
        answer = await site.dispatcher.whole(key)
    assert answer.text == "before after"
    assert site.dispatcher.asks, "without a fresh grant the broker takes nothing"


async def test_a_node_without_a_fresh_grant_asks_again(site: Site) -> None:
    engine, dispatcher = ScriptedEngine(), site.dispatcher
    dispatcher.hands_again = False
    async with FaultyLine(site.server.url) as line, site.worker(engine, url=line.url):
        key = await dispatcher.place(model=MODEL)
        script = await engine.script(1)
        script.say("before ")
        await dispatcher.chunks_stored(key, 1)
        line.cut()
        script.say("after")
        script.end()
        await until(lambda: len(dispatcher.asks) >= 2)
        dispatcher.hands_again = True
        assert (await dispatcher.whole(key)).text == "before after"


async def test_a_chunk_whose_acknowledgement_was_lost_is_not_written_twice(site: Site) -> None:
    engine = ScriptedEngine()
    async with FaultyLine(site.server.url) as line, site.worker(engine, url=line.url):
        key = await site.dispatcher.place(model=MODEL)
        script = await engine.script(1)
        line.mute()
        script.say("stored ")
        await site.dispatcher.chunks_stored(key, 1)
        line.cut()
        script.say("once")
        script.end()
        answer = await site.dispatcher.whole(key)
    assert answer.text == "stored once"
    assert answer.stored == 1 + len(answer.chunks)


async def test_a_node_outlasts_a_broker_that_dies_and_comes_back(site: Site) -> None:
    engine = ScriptedEngine()
    async with site.worker(engine):
        key = await site.dispatcher.place(model=MODEL)
        script = await engine.script(1)
        script.say("before ")
        await site.dispatcher.chunks_stored(key, 1)
        pid = site.server.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        script.say("after")
        script.end()
        answer = await site.dispatcher.whole(key)
    assert answer.text == "before after"


async def test_a_silent_dispatcher_is_asked_until_it_answers(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodes.attempts.chunk_writer.ASK_TIMEOUT", timedelta(milliseconds=200))
    engine = ScriptedEngine()
    dispatcher = site.dispatcher
    async with site.worker(engine):
        key = await dispatcher.place(model=MODEL)
        script = await engine.script(1)
        dispatcher.mute = True
        await dispatcher.append_foreign(key, "stranger", TaskChunk(n=2, attempt=1, offset=0, text="stray"))
        script.end("in the end")
        await until(lambda: len(dispatcher.asks) >= 2)
        dispatcher.mute = False
        assert (await dispatcher.whole(key)).text == "in the end"
    assert len(dispatcher.asks) >= 3


async def test_a_fresh_grant_says_where_to_go_on(site: Site) -> None:
    engine, dispatcher = ScriptedEngine(), site.dispatcher
    async with site.worker(engine):
        key = await dispatcher.place(model=MODEL)
        script = await engine.script(1)
        sequence = await dispatcher.append_foreign(key, "stranger", TaskChunk(n=2, attempt=1, offset=0, text="stray"))
        dispatcher.hand(key, msgspec.structs.replace(dispatcher.assigned[key.task], last_sequence=sequence))
        # The next assignment comes on the same path: once it runs, the grant has been taken.
        await dispatcher.place(model=MODEL)
        await engine.script(2)
        script.end("well placed")
        assert (await dispatcher.whole(key)).text == "well placed"
    assert dispatcher.asks == []


async def test_a_node_that_the_stream_contradicts_gives_the_attempt_back(site: Site) -> None:
    engine, dispatcher = ScriptedEngine(), site.dispatcher
    async with site.worker(engine):
        key = await dispatcher.place(model=MODEL)
        script = await engine.script(1)
        script.say("acknowledged ")
        await dispatcher.chunks_stored(key, 1)
        dispatcher.forgets_chars = 5
        await dispatcher.append_foreign(key, "stranger", TaskChunk(n=2, attempt=1, offset=0, text="stray"))
        script.say("and lost")
        report = await dispatcher.report_of(key)
    assert isinstance(report, Refused)
    assert (report.code, report.status) == ("stream_refused", 503)
