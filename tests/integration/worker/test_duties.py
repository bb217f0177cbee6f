"""What a node takes, refuses and tells: admission, rights, draining, announcements, status."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from nodes.attempts.worker import Worker
from nodes.engine import Generate, Piece
from nodes.models.loaded import Served
from nodes.presence.announce import Announcer
from nodes.presence.status import StatusReporter
from streams import subjects
from streams.codec import encode
from streams.devices.replica import Replica
from streams.events import TaskChunk
from streams.messages import Announced, Assign, NodeStatus, Refused
from streams.subjects import MESH
from streams.tasks.chat import Message, Sampling
from streams.tokens import Token
from tests.integration.worker.faulty_line import FaultyLine
from tests.integration.worker.played_dispatcher import PATIENCE_S, PlayedDispatcher, until
from tests.integration.worker.scripted_engine import MODEL, ScriptedEngine
from tests.integration.worker.site import NODE, Site, synthetic

("node-1")


async def test_a_full_node_refuses_and_takes_work_again_when_a_slot_is_free(site: Site) -> None:
    engine = ScriptedEngine(slots=1)
    async with site.worker(engine) as worker:
        held = await site.dispatcher.place(model=MODEL)
        script = await engine.script(1)
        refusal = await site.dispatcher.report_of(await site.dispatcher.place(model=MODEL))
        assert isinstance(refusal, Refused)
        assert (refusal.code, refusal.status, refusal.attempt) == ("node_busy", 503, 1)
        script.end("done")
        await site.dispatcher.whole(held)
        await until(lambda: not worker.running())
        following = await site.dispatcher.place(model=MODEL)
        (await engine.script(2)).end("done too")
        assert (await site.dispatcher.whole(following)).text == "done too"


@pytest.mark.parametrize(
    ("placement", "code", "status"),
    [
        ({"model": "unheard-of"}, "model_not_found", 503),
        ({"deadline_at_ms": 1}, "deadline_exceeded", 408),
    ],
)
async def test_what_a_node_cannot_do_it_refuses(site: Site, placement: dict[str, Any], code: str, status: int) -> None:
    async with site.worker(synthetic()):
        report = await site.dispatcher.report_of(await site.dispatcher.place(**placement))
    assert isinstance(report, Refused)
    assert (report.code, report.status) == (code, status)


async def test_an_ended_attempt_that_is_handed_again_reports_again_and_runs_no_more(site: Site) -> None:
    engine = ScriptedEngine()
    async with site.worker(engine):
        key = await site.dispatcher.place(model=MODEL)
        (await engine.script(1)).end("all of it")
        await site.dispatcher.whole(key)
        site.dispatcher.hand(key, site.dispatcher.assigned[key.task])
        await until(lambda: len(site.dispatcher.finished) == 2)
    assert site.dispatcher.finished[0] == site.dispatcher.finished[1]
    assert len(engine.scripts) == 1


@pytest.mark.parametrize("reply", ["", "billing.local", "another node's", "another task's"])
async def test_an_order_that_grants_something_else_is_not_obeyed(site: Site, reply: str) -> None:
    dispatcher = site.dispatcher
    key, other = dispatcher.new_task(), dispatcher.new_task()
    grants = {"another node's": subjects.result(key, Token("node-2")), "another task's": subjects.result(other, NODE)}
    order = Assign(
        account=key.account,
        task=key.task,
        attempt=1,
        next_n=1,
        last_sequence=0,
        model="synthetic",
        messages=(Message(role="user", content="x"),),
        sampling=Sampling(),
        dispatcher="d",
    )
    async with site.worker(synthetic()):
        dispatcher.link.send(subjects.node_inbox(NODE, "assign"), encode(order), reply=grants.get(reply, reply))
        # Twice, so that what the order could have begun has had its time.
        for _ in range(2):
            await dispatcher.whole(await dispatcher.place(sampling=Sampling(max_tokens=60)))
        assert [(await dispatcher.answer(task)).stored for task in (key, other)] == [0, 0]


async def test_garbage_on_the_node_s_subjects_does_not_stop_it(site: Site) -> None:
    dispatcher = site.dispatcher
    async with site.worker(synthetic()):
        for inbox in (subjects.node_inbox(NODE, "assign"), subjects.node_inbox(NODE, "stop")):
            for data in (b"", b"\xff", b"\xc1 not msgpack", b"{}", encode(Announced(accepted=True))):
                dispatcher.link.send(inbox, data)
        after = await dispatcher.place(sampling=Sampling(max_tokens=3))
        assert (await dispatcher.whole(after)).state.tokens == 3


async def test_a_node_may_write_what_it_was_handed_and_nothing_else(site: Site) -> None:
    async with site.worker(synthetic()):
        await site.dispatcher.whole(await site.dispatcher.place(sampling=Sampling(max_tokens=3)))
    link = await site.connect_node()
    foreign = site.dispatcher.new_task()
    chunk = encode(TaskChunk(n=1, attempt=1, offset=0, text="mine now"))
    for subject in [
        subjects.result(foreign, NODE),
        subjects.result(foreign, MESH),
        subjects.submitted("interactive", foreign),
        "billing.local",
        "$JS.API.STREAM.PURGE.RESULTS_0",
    ]:
        link.send(subject, chunk)
    # What a node may say comes after all that on the same connection: once it is heard, the rest was judged.
    link.send(subjects.status(NODE), encode(NodeStatus(at_ms=1, interval_s=1)))
    await until(lambda: site.dispatcher.statuses)
    assert (await site.dispatcher.answer(foreign)).stored == 0
    await link.close()


async def test_a_draining_node_finishes_what_runs_and_refuses_what_comes(site: Site) -> None:
    engine = ScriptedEngine()
    async with site.worker(engine) as worker:
        key = await site.dispatcher.place(model=MODEL)
        script = await engine.script(1)
        draining = asyncio.create_task(worker.drain(timedelta(minutes=5)))
        await until(lambda: worker.draining)
        late = await site.dispatcher.report_of(await site.dispatcher.place(model=MODEL))
        script.end("finished in time")
        assert (await site.dispatcher.whole(key)).text == "finished in time"
        await draining
    assert isinstance(late, Refused)
    assert (late.code, late.status) == ("node_draining", 503)


async def test_what_does_not_finish_while_draining_is_handed_back(site: Site) -> None:
    engine = ScriptedEngine()
    async with site.worker(engine) as worker:
        key = await site.dispatcher.place(model=MODEL)
        script = await engine.script(1)
        await worker.drain(timedelta(milliseconds=50))
        report = await site.dispatcher.report_of(key)
        assert script.closed
    assert isinstance(report, Refused)
    assert (report.code, report.status) == ("node_stopping", 503)


async def test_what_was_generated_is_stored_before_the_rest_is_handed_back(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodes.attempts.worker.HAND_OVER", timedelta(minutes=1))
    engine = ScriptedEngine()
    async with site.worker(engine) as worker:
        key = await site.dispatcher.place(model=MODEL)
        script = await engine.script(1)
        async with site.frozen():
            script.say("one ", "two ", "three ")
            await until(lambda: script.taken == 3)
            draining = asyncio.create_task(worker.drain(timedelta(0)))
            await until(lambda: script.closed)
            assert not draining.done()
        await draining
        report = await site.dispatcher.report_of(key)
        answer = await site.dispatcher.answer(key)
        # A dispatcher that takes the task over and has not heard of it is told too.
        taken_over = msgspec.structs.replace(site.dispatcher.assigned[key.task], dispatcher="dispatcher-2")
        site.dispatcher.hand(key, taken_over)
        await until(lambda: len(site.dispatcher.refused) == 2)
    assert isinstance(report, Refused)
    assert (report.code, report.status, report.dispatcher) == ("node_stopping", 503, "dispatcher-1")
    assert msgspec.structs.replace(report, dispatcher="dispatcher-2") == site.dispatcher.refused[1]
    assert (answer.text, answer.state.tokens) == ("one two three ", 3)


async def test_an_answer_that_is_whole_when_the_node_stops_is_finished_not_handed_back(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodes.attempts.worker.HAND_OVER", timedelta(minutes=1))
    engine = ScriptedEngine()
    async with site.worker(engine) as worker:
        key = await site.dispatcher.place(model=MODEL)
        script = await engine.script(1)
        async with site.frozen():
            script.say("one ")
            script.end("and all")
            await until(lambda: script.closed)
            draining = asyncio.create_task(worker.drain(timedelta(0)))
            await until(lambda: worker.draining)
        await draining
        assert (await site.dispatcher.whole(key)).text == "one and all"


async def test_a_node_that_stops_waits_for_no_broker(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodes.attempts.worker.HAND_OVER", timedelta(milliseconds=50))
    engine = ScriptedEngine()
    async with site.worker(engine) as worker:
        key = await site.dispatcher.place(model=MODEL)
        script = await engine.script(1)
        async with site.frozen():
            script.say("unheard")
            await until(lambda: script.taken == 1)
            await worker.drain(timedelta(0))
            assert worker.running() == ()
        report = await site.dispatcher.report_of(key)
    assert isinstance(report, Refused)
    assert report.code == "node_stopping"


async def test_a_node_that_leaves_looks_for_a_registry_that_hears_it(site: Site) -> None:
    dispatcher = site.dispatcher
    link = await site.connect_node()
    announcer = Announcer(link, NODE, (Replica(model="m", engine="e", context_tokens=1, slots=1),))
    running = asyncio.create_task(announcer.run())
    await until(lambda: dispatcher.announced)
    await announcer.accepted()
    running.cancel()
    dispatcher.accepts = False
    leaving = asyncio.create_task(announcer.withdraw(timedelta(minutes=1)))
    await until(lambda: len([said for said in dispatcher.announced if not said.replicas]) == 2)
    dispatcher.accepts = True
    await leaving
    dispatcher.accepts = False
    await announcer.withdraw(timedelta(milliseconds=50))  # and does not look for ever
    await link.close()


async def test_a_node_announces_until_accepted_and_again_when_asked_or_reconnected(site: Site) -> None:
    dispatcher = site.dispatcher
    dispatcher.accepts = False
    replica = Replica(model="m", engine="e", context_tokens=1, slots=1)
    async with FaultyLine(site.server.url) as line:
        link = await site.connect_node(line.url)
        announcer = Announcer(link, NODE, (replica,))
        await announcer.listen()
        running = asyncio.create_task(announcer.run())
        await until(lambda: len(dispatcher.announced) >= 2)
        dispatcher.accepts = True
        async with asyncio.timeout(PATIENCE_S):
            await announcer.accepted()
        known = len(dispatcher.announced)
        dispatcher.ask_for_announcement()
        await until(lambda: len(dispatcher.announced) > known)
        known = len(dispatcher.announced)
        line.cut()
        await until(lambda: len(dispatcher.announced) > known)
        running.cancel()
        await asyncio.wait([running])
        await announcer.withdraw(timedelta(minutes=5))
        await link.close()
    said = [announced.replicas for announced in dispatcher.announced]
    # What was not answered in time is said again.
    assert said[-1] == ()
    assert set(said[: said.index(())]) == {(replica,)}
    assert set(said[said.index(()) :]) == {()}


async def test_status_follows_the_load(site: Site) -> None:
    engine, dispatcher = ScriptedEngine(), site.dispatcher
    link = await site.connect_node()
    worker = Worker(link, NODE, [Served(engine, await engine.start())])
    reporter = StatusReporter(link, NODE, worker, timedelta(milliseconds=300))
    await worker.listen()
    await reporter.start()
    await until(lambda: dispatcher.statuses)
    assert dispatcher.statuses[0].running == ()

    key = await dispatcher.place(model=MODEL)
    busy = await until(_status(dispatcher, lambda status: status.replicas[0].busy == 1))
    assert [(run.task, run.attempt, run.model) for run in busy.running] == [(key.task, 1, MODEL)]
    script = await engine.script(1)
    script.say("a ", "b ", "c ")
    await until(_status(dispatcher, lambda status: any(run.tokens == 3 for run in status.running)))
    script.end()
    await dispatcher.whole(key)
    await until(lambda: dispatcher.statuses[-1].replicas[0].busy == 0)
    heard = len(dispatcher.statuses)
    await until(lambda: len(dispatcher.statuses) >= heard + 2)
    await worker.drain(timedelta(0))
    await until(lambda: dispatcher.statuses[-1].draining)
    reporter.stop()
    await link.close()
    assert all(status.memory_bytes for status in dispatcher.statuses)


class _Ready(ScriptedEngine):
    """Has its first words as soon as it is asked."""

    async def generate(self, request: Generate) -> AsyncGenerator[Piece, None]:
        for text in ("a ", "b ", "c "):
            yield Piece(text=text)
        async with aclosing(super().generate(request)) as pieces:
            async for piece in pieces:
                yield piece


async def test_the_rate_of_what_runs_is_told_before_the_next_heartbeat(site: Site) -> None:
    engine, dispatcher = _Ready(), site.dispatcher
    link = await site.connect_node()
    worker = Worker(link, NODE, [Served(engine, await engine.start())])
    reporter = StatusReporter(link, NODE, worker, timedelta(minutes=10))
    await worker.listen()
    await reporter.start()
    key = await dispatcher.place(model=MODEL)
    told = await until(_status(dispatcher, lambda status: status.replicas[0].tokens_per_s))
    assert told.replicas[0].busy == 1
    engine.scripts[0].end()
    await dispatcher.whole(key)
    await until(lambda: dispatcher.statuses[-1].replicas[0].busy == 0)
    reporter.stop()
    await worker.drain(timedelta(0))
    await link.close()


def _status(dispatcher: PlayedDispatcher, fits: Callable[[Any], bool]) -> Callable[[], Any]:
    return lambda: next((status for status in dispatcher.statuses if fits(status)), None)


async def test_a_service_that_has_just_started_gets_a_report_at_once(site: Site) -> None:
    link = await site.connect_node()
    reporter = StatusReporter(link, NODE, Worker(link, NODE, []), timedelta(minutes=10))
    await reporter.start()
    await until(lambda: site.dispatcher.statuses)
    site.dispatcher.link.send(subjects.node_inbox(NODE, "report"), b"")
    await until(lambda: len(site.dispatcher.statuses) == 2)
    reporter.stop()
    await link.close()
