"""The life of a task through real dispatchers and workers."""

import asyncio
import base64
import json
from datetime import timedelta

import pytest

from gateway.dispatcher.ending import stored_end
from gateway.http import task_calls
from mesh.bus.direct_client import Delivery
from mesh.errors import PublishRefused
from mesh.history.stream_facts import last_message
from streams import subjects
from streams.clock import now_ms
from streams.codec import decode, encode, encode_json
from streams.devices.replica import Replica
from streams.events import (
    DeviceLost,
    ModelAnnounced,
    SubmissionUnreadable,
    TaskAssigned,
    TaskCancelled,
    TaskCompleted,
    TaskEnded,
    TaskQueued,
)
from streams.messages import Announce, Cancel, CancelOutcome, EventsRequest, Refusal
from streams.tokens import token
from streams.topology import DEVICES, UNREADABLE
from tests.http_gateway import until
from tests.mesh_in_process import InProcessMesh, text_of


async def test_a_task_is_assigned_written_and_ended_once(mesh: InProcessMesh):
    await mesh.add_dispatcher()
    await mesh.add_node()

    key = await mesh.submit(tokens=12)
    steps = await mesh.steps(key)

    assert isinstance(steps[0].event, TaskAssigned)
    assert steps[0].event.candidates[0].score is not None
    assert isinstance(steps[-1].event, TaskEnded)
    assert steps[-1].event.outcome == "completed"
    assert [step.state.n for step in steps] == list(range(1, len(steps) + 1))
    end = await stored_end(mesh.bus, key)
    assert isinstance(end, TaskCompleted)
    assert end.usage.completion_tokens == 12
    assert end.finish_reason == "length"
    assert sum(share.chars for share in end.shares) == len(text_of(steps))


async def test_many_tasks_over_several_dispatchers_and_nodes_all_complete(mesh: InProcessMesh):
    await mesh.add_dispatcher("d1")
    await mesh.add_dispatcher("d2")
    await mesh.add_node("n1", slots=2)
    await mesh.add_node("n2", slots=3)

    keys = [
        await mesh.submit(mesh.key(account), text=f"question {index}") for index in range(20) for account in ("a", "b")
    ]
    answers = await asyncio.gather(*(mesh.steps(key) for key in keys))

    assert {steps[-1].state.outcome for steps in answers} == {"completed"}
    nodes = {steps[-1].state.node for steps in answers}
    assert nodes == {"n1", "n2"}


async def test_without_a_node_a_task_is_queued_with_position_and_reason_until_one_comes(mesh: InProcessMesh):
    await mesh.add_dispatcher()
    keys = first, second = [mesh.key() for _ in range(2)]
    for key in keys:
        await mesh.submit(key)
        await mesh.reached(key, 1)

    queued = [(await mesh.bus.log.read(key))[0].event for key in (first, second)]
    await mesh.add_node()
    answers = [await mesh.steps(key) for key in (first, second)]

    told = [(event.position, event.reason) for event in queued if isinstance(event, TaskQueued)]
    assert told == [(0, "no node serves this model"), (1, "no node serves this model")]
    assert [steps[-1].state.outcome for steps in answers] == ["completed", "completed"]


async def test_a_deadline_ends_a_task_that_waits(mesh: InProcessMesh):
    await mesh.add_dispatcher()

    key = mesh.key()
    steps = await mesh.steps(await mesh.submit(key, deadline_at_ms=int(key.task[:12], 16) + 100))

    assert steps[-1].state.outcome == "failed"
    assert steps[-1].state.error is not None
    assert steps[-1].state.error.code == "deadline_exceeded"


async def test_an_unknown_model_fails_as_http_would_say_it(mesh: InProcessMesh):
    await mesh.add_dispatcher()

    steps = await mesh.steps(await mesh.submit(model="nobody-has-this"))

    error = steps[-1].state.error
    assert error is not None
    assert (error.code, error.status, error.param) == ("model_not_found", 404, "model")


async def test_a_model_that_was_announced_a_moment_ago_is_known(mesh: InProcessMesh):
    dispatcher = await mesh.add_dispatcher()
    # As if it were held up just now: what is stored comes to it when it asks, and not before.
    await dispatcher.feed.models.stop()
    replica = Replica(model="brand-new", engine="synthetic", context_tokens=2048, slots=1)
    announced = ModelAnnounced(at_ms=now_ms(), node=token("n1"), replica=replica)
    await mesh.bus.core.append(subjects.model(token("n1"), "brand-new"), encode(announced))

    key = await mesh.submit(model="brand-new")
    await mesh.reached(key, 1)

    first = (await mesh.bus.log.read(key))[0].event
    assert isinstance(first, TaskQueued), first


async def test_an_unreadable_submission_fails_with_the_reason_and_the_queue_moves_on(mesh: InProcessMesh):
    await mesh.add_dispatcher()
    await mesh.add_node()
    bad = mesh.key()
    await mesh.bus.edge.append(
        subjects.submitted("standard", bad), b'{"model": 7}', headers=[("Content-Type", "application/json")]
    )
    worse = mesh.key()
    await mesh.bus.edge.append(subjects.submitted("standard", worse), b"\xc1\xff garbage")
    good = await mesh.submit()

    ends = [(await mesh.steps(key))[-1].state for key in (bad, worse, good)]

    assert [state.outcome for state in ends] == ["failed", "failed", "completed"]
    assert ends[0].error is not None
    assert ends[0].error.status == 400
    assert "model" in ends[0].error.message


async def test_a_submission_that_names_no_task_is_kept_and_the_queue_moves_on(mesh: InProcessMesh):
    await mesh.add_dispatcher()
    await mesh.add_node()
    subject = "tasks.standard.0.local.no-task-id.submitted"
    await mesh.bus.edge.append(subject, b"any bytes")

    good = await mesh.steps(await mesh.submit())

    async def is_kept() -> bool:
        return await last_message(mesh.bus.core, UNREADABLE, subjects.UNREADABLE_SUBMISSION) is not None

    await until(is_kept)
    kept = await mesh.bus.core.request(f"$JS.API.DIRECT.GET.{UNREADABLE}.{subjects.UNREADABLE_SUBMISSION}", b"")
    event = decode(kept.data, SubmissionUnreadable)
    assert (event.subject, base64.b64decode(event.body_base64)) == (subject, b"any bytes")
    assert good[-1].state.outcome == "completed"


async def test_a_class_that_nobody_serves_is_refused_by_the_broker(mesh: InProcessMesh):
    with pytest.raises(PublishRefused):
        await mesh.bus.edge.append(f"tasks.someday.0.local.{mesh.key().task}.submitted", b"")


async def test_a_json_submission_is_served(mesh: InProcessMesh):
    await mesh.add_dispatcher()
    await mesh.add_node()
    key = mesh.key()
    body = encode_json(
        {"model": "synthetic", "messages": [{"role": "user", "content": "hi"}], "sampling": {"max_tokens": 3}}
    )
    await mesh.bus.edge.append(
        subjects.submitted("interactive", key), body, headers=[("Content-Type", "application/json")]
    )

    steps = await mesh.steps(key)

    assert steps[-1].state.outcome == "completed"
    assert steps[-1].state.tokens == 3


async def test_cancel_while_writing_ends_the_task_and_frees_the_node(mesh: InProcessMesh):
    await mesh.add_dispatcher()
    node = await mesh.add_node(slots=1, delay_ms=20)
    key = await mesh.submit(tokens=10_000)
    await mesh.reached(key, 4)

    reply = await mesh.bus.core.request(subjects.user_api(key.account, "cancel"), encode(Cancel(task=key.task)))
    steps = await mesh.steps(key)
    following = await mesh.steps(await mesh.submit(tokens=2))

    assert decode(reply.data, CancelOutcome).outcome == "cancelled"
    end = await stored_end(mesh.bus, key)
    assert isinstance(end, TaskCancelled)
    assert end.shares[0].node == node.name
    assert end.shares[0].chars == len(text_of(steps))
    assert following[-1].state.outcome == "completed"


async def test_cancel_of_a_waiting_task(mesh: InProcessMesh):
    await mesh.add_dispatcher()
    key = await mesh.submit(model="promised")
    await mesh.reached(key, 1)

    reply = await mesh.bus.core.request(subjects.user_api(key.account, "cancel"), encode(Cancel(task=key.task)))

    assert decode(reply.data, CancelOutcome).outcome == "cancelled"
    assert (await mesh.steps(key))[-1].state.outcome == "cancelled"


async def test_cancel_of_another_accounts_task_changes_nothing(mesh: InProcessMesh):
    await mesh.add_dispatcher()
    await mesh.add_node(delay_ms=10)
    key = await mesh.submit(tokens=30)

    reply = await mesh.bus.core.request(subjects.user_api(token("stranger"), "cancel"), encode(Cancel(task=key.task)))

    assert decode(reply.data, CancelOutcome).outcome == "unknown"
    assert (await mesh.steps(key))[-1].state.outcome == "completed"


async def test_a_node_that_left_in_good_order_hands_its_task_on_even_if_its_refusal_was_lost(mesh: InProcessMesh):
    await mesh.add_dispatcher()
    leaving = await mesh.add_node("leaving", delay_ms=20)
    key = await mesh.submit(tokens=60)
    await mesh.reached(key, 4)
    await mesh.add_node("staying")

    withdrawn = encode(Announce(software="test", replicas=()))
    await leaving.link.request(subjects.node_api(leaving.name, "announce"), withdrawn)
    await leaving.vanish()
    steps = await mesh.steps(key)

    assert steps[-1].state.outcome == "completed"
    assert steps[-1].state.tokens == 60
    assert [share.node for share in steps[-1].state.shares] == ["leaving", "staying"]


async def test_another_dispatcher_carries_on_when_one_dies(mesh: InProcessMesh):
    first = await mesh.add_dispatcher("d1")
    await mesh.add_node(delay_ms=10)
    key = await mesh.submit(tokens=300)
    await mesh.reached(key, 4)

    await mesh.add_dispatcher("d2")
    await first.vanish()
    steps = await mesh.steps(key)

    assert steps[-1].state.outcome == "completed"
    assert steps[-1].state.tokens == 300
    assert [step.state.n for step in steps] == list(range(1, len(steps) + 1))
    assert steps[-1].state.attempt == 1


async def test_a_task_submitted_under_two_classes_is_answered_once_and_leaves_the_queue(mesh: InProcessMesh):
    await mesh.add_dispatcher()
    await mesh.add_node(delay_ms=5)
    key = await mesh.submit(tokens=20, service_class="standard")
    await mesh.submit(key, tokens=20, service_class="batch")

    steps = await mesh.steps(key)

    assert steps[-1].state.outcome == "completed"
    assert steps[-1].state.tokens == 20
    await mesh.all_acknowledged("batch")


async def test_a_node_that_was_given_up_by_mistake_comes_back_by_reporting(mesh: InProcessMesh):
    await mesh.add_dispatcher()
    node = await mesh.add_node()
    lost = DeviceLost(at_ms=1, node=node.name, reason="by mistake")
    await mesh.bus.core.append(subjects.device(node.name, "lost"), encode(lost))

    steps = await mesh.steps(await mesh.submit())

    assert steps[-1].state.outcome == "completed"


async def test_catching_up_with_a_task_that_is_not_there_says_so(mesh: InProcessMesh):
    link = await mesh.connect_user()
    subject = subjects.user_api(token("local"), "events")

    reply = await link.request(subject, encode(EventsRequest(task=mesh.key().task)))

    assert decode(reply.data, Refusal).status == 404


async def test_a_new_device_is_registered_once(mesh: InProcessMesh):
    running = await mesh.add_dispatcher()
    node = await mesh.add_node()
    mesh.bus.edge.send(subjects.node_inbox(node.name, "registry"), b"")
    await mesh.steps(await mesh.submit())

    view = running.feed.roster.node(node.name, now_s=running.feed.now_s())
    registered = subjects.device(node.name, "registered")
    question = json.dumps({"subjects_filter": registered}).encode()
    info = await mesh.bus.core.request(f"$JS.API.STREAM.INFO.{DEVICES}", question)

    assert view is not None
    assert view.is_registered
    assert json.loads(info.data)["state"]["subjects"] == {registered: 1}


async def test_a_cancel_of_a_gateway_that_is_not_answered_in_time_is_asked_for_again(
    mesh: InProcessMesh, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(task_calls, "TIMEOUT", timedelta(seconds=0.1))
    monkeypatch.setattr(task_calls, "_TRIES", 200)
    key, asked = mesh.key(), list[str]()

    def on_cancel(delivery: Delivery) -> None:
        asked.append(decode(delivery.data, Cancel).reason)
        if len(asked) > 1:
            mesh.bus.core.reply_to(delivery, encode(CancelOutcome(task=key.task, outcome="cancelled")))

    await mesh.bus.core.listen(subjects.user_api_all("cancel"), on_cancel)
    assert (await task_calls.cancel(mesh.bus, key, "enough")).outcome == "cancelled"
    assert set(asked) == {"enough"}
