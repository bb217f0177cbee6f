"""What a node does that is asked beside another one: it begins, says that it has words, and keeps them (ADR 18)."""

from msgspec.structs import replace

from streams import subjects
from streams.codec import encode
from streams.events import TaskChunk
from streams.messages import Refused
from tests.integration.worker.played_dispatcher import ELSEWHERE, until
from tests.integration.worker.scripted_engine import MODEL, ScriptedEngine
from tests.integration.worker.site import NODE, Site


async def test_it_keeps_its_words_and_asks_until_the_task_is_its_own_and_then_writes_them_once(site: Site) -> None:
    engine, played = ScriptedEngine(), site.dispatcher
    async with site.worker(engine):
        key = played.new_task()
        await played.hedge(key, model=MODEL)
        script = await engine.script(1)
        script.say("one ", "two ")
        await until(lambda: len(played.asks) > 1)
        assert all(ask.hedge and ask.attempt == 2 for ask in played.asks)
        assert (await played.answer(key)).stored == 1, "only the marker of the other node"

        await played.place(model=MODEL, key=key)
        script.say("three")
        script.end()
        answer = await played.whole(key)
    assert answer.text == "one two three"
    assert len(engine.scripts) == 1
    assert answer.stored == 2 + len(answer.chunks), "everything that was stored counts"


async def test_once_the_other_node_has_written_it_stops_without_a_word(site: Site) -> None:
    engine, played = ScriptedEngine(), site.dispatcher
    async with site.worker(engine):
        key = played.new_task()
        await played.hedge(key, model=MODEL)
        script = await engine.script(1)
        await played.append_foreign(key, ELSEWHERE, TaskChunk(n=2, attempt=1, offset=0, text="theirs", tokens=1))
        script.say("mine")
        assert await until(lambda: script.closed)
        assert (await played.answer(key)).text == "theirs"
    assert not played.refused
    assert not played.finished


async def test_where_its_attempt_goes_on_from_a_text_that_it_did_not_know_it_begins_anew(site: Site) -> None:
    engine, played = ScriptedEngine(), site.dispatcher
    async with site.worker(engine):
        key = played.new_task()
        await played.hedge(key, model=MODEL)
        hidden = await engine.script(1)
        await played.append_foreign(key, ELSEWHERE, TaskChunk(n=2, attempt=1, offset=0, text="theirs, ", tokens=1))
        await played.place(model=MODEL, key=key, seam="continued")
        script = await engine.script(2)
        assert hidden.closed
        assert script.request.prefix == "theirs, "
        script.end("mine")
        assert (await played.whole(key)).text == "theirs, mine"


async def test_the_attempt_that_it_was_stopped_in_may_be_assigned_to_it_after_all(site: Site) -> None:
    engine, played = ScriptedEngine(), site.dispatcher
    async with site.worker(engine):
        key = played.new_task()
        await played.hedge(key, model=MODEL)
        hidden = await engine.script(1)
        played.stop(key, attempt=2)
        await played.place(model=MODEL, key=key)
        script = await engine.script(2)
        assert hidden.closed
        script.end("mine")
        assert (await played.whole(key)).text == "mine"


async def test_what_it_refuses_it_refuses_at_once_and_a_right_to_write_is_no_part_of_it(site: Site) -> None:
    engine, played = ScriptedEngine(slots=1), site.dispatcher
    async with site.worker(engine):
        taken, key, other = await played.place(model=MODEL), played.new_task(), played.new_task()
        script = await engine.script(1)
        assign = await played.hedge(key, model=MODEL)
        refusal = await played.report_of(key)
        assert isinstance(refusal, Refused)
        assert (refusal.code, refusal.attempt) == ("node_busy", 2)
        # Neither kind of order counts with the reply subject of the other.
        odd = replace(assign, task=other.task)
        grant = subjects.result(other, NODE)
        played.link.send(subjects.node_inbox(NODE, "assign"), encode(odd), reply=grant)
        played.link.send(subjects.node_inbox(NODE, "assign"), encode(replace(odd, hedge=False)))
        script.end()
        await played.whole(taken)
    assert [report.task for report in played.refused] == [key.task]
    assert len(engine.scripts) == 1
