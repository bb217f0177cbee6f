"""A user may submit, and name any subject for the answer: neither changes what is believed of anybody's task."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from mesh.bus.headers import header_block
from mesh.bus.link import Link
from mesh.history.stream_facts import last_message, stream_facts
from mesh.inspection.task_records import look_up, standing
from streams import subjects
from streams.codec import decode, encode
from streams.consumers import consumer_name
from streams.events import SubmissionUnreadable, TaskSubmitted
from streams.messages import Cancel, EventsRequest
from streams.subjects import MESH, TaskKey
from streams.tasks.chat import Message
from streams.tasks.task_id import bucket_of, new_task_id
from streams.tokens import token
from streams.topology import DEVICES, MODELS, TASKS, UNREADABLE, results_stream
from tests.integration.hostile.rogue import HONEST, Assignment, Onlooker, Rogue, landed
from tests.mesh_in_process import LIMIT_S, InProcessMesh

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASKED = encode(TaskSubmitted(model="rogue", messages=(Message(role="user", content="hello"),)))
LOCAL = token("local")
VICTIM = token("victim")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def user(mesh: InProcessMesh) -> AsyncIterator[Link]:
    yield await mesh.connect_user()


async def running(mesh: InProcessMesh, rogue: Rogue) -> tuple[Onlooker, Assignment]:
    key = mesh.key()
    onlooker = Onlooker(mesh, key)
    await mesh.submit(key, model="rogue")
    attempt = await rogue.take(key)
    await attempt.write("one ", n=2, offset=0)
    return onlooker, attempt


async def finished(onlooker: Onlooker, attempt: Assignment) -> str:
    await attempt.write("two", n=3, offset=4, last=True)
    attempt.finished()
    return await onlooker.believes()


def misled(user: Link, reply: str) -> None:
    """Submit something that fails at once, with the broker's acknowledgement sent to ``reply``."""
    user.send(subjects.submitted("batch", TaskKey(LOCAL, new_task_id())), b"noise", reply=reply)


async def submitted(mesh: InProcessMesh, key: TaskKey) -> None:
    """Wait until something stands where the task would be submitted."""
    pattern = f"tasks.*.*.{key.account}.{key.task}.submitted"
    async with asyncio.timeout(LIMIT_S):
        while await last_message(mesh.bus.edge, TASKS, pattern) is None:  # noqa: ASYNC110 - the broker tells nobody
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Nats-TTL", "1s"),
        ("Nats-Schedule", "@at 2000-01-01T00:00:00Z"),
        ("Nats-Rollup", "sub"),
        ("Nats-Rollup", "all"),
        ("Nats-Incr", "+1"),
        ("Nats-Batch-Id", "b"),
        ("Nats-Stream-Source", "x"),
        ("Nats-Expected-Last-Sequence", "0"),
    ],
)
async def test_a_submission_that_would_change_the_stream_is_refused(
    mesh: InProcessMesh, rogue: Rogue, user: Link, name: str, value: str
):
    await mesh.submit(model="nobody-has-this")
    before = await stream_facts(mesh.bus.edge, TASKS)
    block = header_block(
        (name, value),
        ("Nats-Schedule-Target", subjects.submitted("standard", TaskKey(VICTIM, new_task_id()))),
        ("Nats-Batch-Sequence", "1"),
    )
    answer = await user.request(subjects.submitted("standard", mesh.key()), ASKED, headers=block)

    assert "error" in json.loads(answer.data)
    after = await stream_facts(mesh.bus.edge, TASKS)
    assert (after.messages, after.last_sequence) == (before.messages, before.last_sequence)


@pytest.mark.parametrize(
    "block",
    [
        b"",
        header_block(("Nats-Msg-Id", "x")),
        header_block(("Nats-Rollup", "sub")),
        header_block(("Nats-Expected-Last-Subject-Sequence", "0")),
        header_block(("Nats-TTL", "1s")),
    ],
)
async def test_what_was_asked_first_stands_whatever_the_second_says(
    mesh: InProcessMesh, rogue: Rogue, user: Link, block: bytes
):
    onlooker, attempt = await running(mesh, rogue)
    again = await user.request(subjects.submitted("standard", onlooker.key), b"something else", headers=block)
    assert "error" in json.loads(again.data)
    assert await finished(onlooker, attempt) == f"completed: {HONEST}"


async def test_a_message_id_that_a_stranger_used_swallows_nobodys_task(mesh: InProcessMesh, rogue: Rogue, user: Link):
    # The window of ids is the stream's, over all accounts. Ours send none, so there is nothing to be mistaken for.
    key = mesh.key()
    taken = header_block(("Nats-Msg-Id", key.task))
    await user.request(subjects.submitted("batch", mesh.key()), b"noise", headers=taken)
    onlooker = Onlooker(mesh, key)
    await mesh.submit(key, model="rogue")
    attempt = await rogue.take(key)
    await attempt.write("one ", n=2, offset=0)
    assert await finished(onlooker, attempt) == f"completed: {HONEST}"


@pytest.mark.parametrize("writer", ["mesh", "rogue", "somebody", "bad!name", "*", ">"])
async def test_an_acknowledgement_led_onto_a_running_task_counts_for_nobody(
    mesh: InProcessMesh, rogue: Rogue, user: Link, writer: str
):
    onlooker, attempt = await running(mesh, rogue)
    misled(user, f"{subjects.results_of(onlooker.key)[:-1]}{writer}")
    await landed(mesh, onlooker.key, count=2)
    assert (await standing(mesh.bus, await look_up(mesh.bus, onlooker.key.task))).word == "running"
    assert await finished(onlooker, attempt) == f"completed: {HONEST}"


async def test_an_acknowledgement_led_into_a_waiting_task_counts_for_nobody(
    mesh: InProcessMesh, rogue: Rogue, user: Link
):
    key = mesh.key()
    await mesh.submit(key, model="promised-later")
    onlooker = Onlooker(mesh, key)
    await mesh.reached(key, 1)
    misled(user, subjects.result(key, MESH))
    await landed(mesh, key, count=1)
    async with Rogue(mesh, "late", "promised-later") as late:
        attempt = await late.take(key)
        await attempt.write("one ", n=attempt.order.next_n, offset=0)
        await attempt.write("two", n=attempt.order.next_n + 1, offset=4, last=True)
        attempt.finished()
        assert await onlooker.believes() == f"completed: {HONEST}"


async def test_an_acknowledgement_led_into_another_account_is_nobodys_task(mesh: InProcessMesh, user: Link):
    victim = TaskKey(VICTIM, new_task_id())
    # What was led astray before is noted by now, so that the newest note is of this one.
    await misled_all(mesh, user)
    misled(user, subjects.submitted("interactive", victim))
    await submitted(mesh, victim)
    await mesh.all_acknowledged("interactive")

    kept = await last_message(mesh.bus.core, UNREADABLE)
    assert kept is not None
    unreadable = decode(kept.data, SubmissionUnreadable)
    assert unreadable.subject == subjects.submitted("interactive", victim)
    assert await mesh.bus.log.read(victim) == []
    assert await last_message(mesh.bus.core, "ENDED", subjects.ended(victim)) is None


@pytest.mark.parametrize(
    "subject",
    ["live.x.local.mesh", "live.0.local.task.writer", "status.rogue", "node.rogue.assign", "api.node.rogue.refused"],
)
async def test_an_acknowledgement_led_to_a_service_or_a_reader_is_not_believed(
    mesh: InProcessMesh, rogue: Rogue, user: Link, subject: str
):
    onlooker, attempt = await running(mesh, rogue)
    heard = asyncio.Event()
    listener = await mesh.bus.edge.listen(subject, lambda _: heard.set())
    # A request on the same connection comes back behind the subscription.
    await mesh.bus.edge.request("$JS.API.INFO", b"")
    live = subjects.live_of(onlooker.key)[:-1]
    for reply in (subject, f"{live}mesh", f"{live}rogue"):
        misled(user, reply)
    async with asyncio.timeout(LIMIT_S):
        await heard.wait()
    await listener.close()
    assert await finished(onlooker, attempt) == f"completed: {HONEST}"


async def test_an_acknowledgement_led_to_the_brokers_own_interface_does_nothing(
    mesh: InProcessMesh, rogue: Rogue, user: Link
):
    onlooker, attempt = await running(mesh, rogue)
    results = results_stream(bucket_of(onlooker.key.task), 4)
    consumer = f"{TASKS}.{consumer_name('standard')}"
    before = await stream_facts(mesh.bus.edge, results)
    for call in (
        *(f"STREAM.{verb}.{results}" for verb in ("PURGE", "DELETE", "UPDATE", "MSG.DELETE", "SNAPSHOT")),
        *(f"CONSUMER.{verb}.{consumer}" for verb in ("DELETE", "RESET", "MSG.NEXT", "PAUSE", "UNPIN")),
        "STREAM.CREATE.MINE",
        f"CONSUMER.CREATE.{TASKS}.mine",
    ):
        misled(user, f"$JS.API.{call}")
    await misled_all(mesh, user)

    after = await stream_facts(mesh.bus.edge, results)
    assert (after.created, after.first_sequence) == (before.created, before.first_sequence)
    info = json.loads((await mesh.bus.edge.request(f"$JS.API.CONSUMER.INFO.{consumer}", b"")).data)
    assert info["config"]["ack_policy"] == "explicit"
    assert not info.get("paused")
    assert await finished(onlooker, attempt) == f"completed: {HONEST}"


async def misled_all(mesh: InProcessMesh, user: Link) -> None:
    """Wait until all that was misled is dealt with: none of it is of the class of our tasks."""
    await user.request(subjects.submitted("batch", mesh.key()), b"noise")
    await mesh.all_acknowledged("batch")


@pytest.mark.parametrize("verb", ["events", "cancel"])
async def test_a_service_answers_under_the_callers_own_inbox_and_nowhere_else(
    mesh: InProcessMesh, rogue: Rogue, user: Link, verb: str
):
    onlooker, attempt = await running(mesh, rogue)
    answered: list[object] = []
    targets = (
        subjects.result(onlooker.key, MESH),
        subjects.submitted("batch", TaskKey(VICTIM, new_task_id())),
        f"{subjects.live_of(onlooker.key)[:-1]}mesh",
        "_INBOX.user.localx.1",
        "_INBOX.user.victim.1",
        "_INBOX.user.local",
        "_INBOX.svc.d1.1",
        "$JS.API.STREAM.PURGE.TASKS",
    )
    for target in targets:
        await mesh.bus.edge.listen(target, answered.append)
    await mesh.bus.edge.request("$JS.API.INFO", b"")
    stranger = new_task_id()
    body = encode(EventsRequest(task=stranger) if verb == "events" else Cancel(task=stranger))
    api = subjects.user_api(LOCAL, "events" if verb == "events" else "cancel")
    for target in targets:
        user.send(api, body, reply=target)
    # One that may be answered, behind all the others.
    await user.request(api, body)

    assert answered == []
    assert await finished(onlooker, attempt) == f"completed: {HONEST}"


async def test_the_register_holds_what_registries_wrote_and_nothing_else(mesh: InProcessMesh, user: Link):
    for subject in ("devices.ghost.lost", "models.ghost.ghost", "ended.0.local.x", "billing.local", "dead.local.x"):
        misled(user, subject)
    for subject in ("access.local", "nonces.x", "sessions.x"):
        misled(user, subject)
    await misled_all(mesh, user)
    # A node that a busy machine delays may be noted as lost meanwhile: that is of a registry, and of its own name.
    for stream, family in ((DEVICES, "devices"), (MODELS, "models")):
        assert await last_message(mesh.bus.core, stream, f"{family}.ghost.*") is None
    for stream in ("BILLING", "ACCESS", "NONCES", "SESSIONS"):
        assert await last_message(mesh.bus.core, stream) is None
