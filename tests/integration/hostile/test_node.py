"""A node may report and ask: whatever it says and wherever it wants the answer, nothing is written there."""

import asyncio

import pytest

from mesh.bus.headers import header_block
from mesh.history.stream_facts import last_message, stream_facts
from streams import subjects
from streams.codec import encode
from streams.messages import Announce, Ask, Finished, NodeStatus, Refused
from streams.subjects import MESH, TaskKey
from streams.tasks.task_id import new_task_id
from streams.tokens import token
from streams.topology import DEVICES, MODELS, TASKS
from tests.integration.hostile.rogue import HONEST, Onlooker, Rogue
from tests.mesh_in_process import InProcessMesh

pytestmark = pytest.mark.asyncio(loop_scope="module")

VICTIM = token("victim")
JSON = header_block(("Content-Type", "application/json"))


def reports(task: str) -> dict[str, bytes]:
    return {
        "finished": encode(Finished(task=task, attempt=1, dispatcher="d1", sequence=1)),
        "refused": encode(Refused(task=task, attempt=1, dispatcher="d1", code="x", message="y", status=400)),
        "ask": encode(Ask(account="local", task=task, attempt=1)),
        "announce": encode(Announce(software="s", replicas=())),
    }


@pytest.mark.parametrize("headers", [b"", JSON], ids=["msgpack", "json"])
@pytest.mark.parametrize("body", ["good", "garbage"])
@pytest.mark.parametrize("verb", ["finished", "refused", "ask", "announce"])
async def test_no_service_answers_where_a_node_would_have_something_written(
    mesh: InProcessMesh, rogue: Rogue, verb: str, body: str, headers: bytes
):
    key = mesh.key()
    onlooker = Onlooker(mesh, key)
    await mesh.submit(key, model="rogue")
    attempt = await rogue.take(key)
    await attempt.write("one ", n=2, offset=0)
    other = TaskKey(VICTIM, new_task_id())
    targets = (
        subjects.result(key, MESH),
        subjects.result(other, MESH),
        subjects.submitted("batch", other),
        subjects.node_inbox(token("other"), "assign"),
        "_INBOX.node.somebody.1",
        "_INBOX.user.local.1",
        "_INBOX.node.rogue",
    )
    answered: list[object] = []
    listeners = [await mesh.bus.edge.listen(target, answered.append) for target in targets]
    await mesh.bus.edge.request("$JS.API.INFO", b"")
    # Of a task that is nobody's: what a node says of its own is another matter.
    words = reports(new_task_id())[verb] if body == "good" else b"\xc1 garbage"
    for target in targets:
        rogue.link.send(f"api.node.{rogue.node}.{verb}", words, reply=target, headers=headers)
        rogue.link.send(f"api.node.ev!l.{verb}", words, reply=target, headers=headers)
    # One that is answered, behind all the others.
    await rogue.ask(attempt)

    assert answered == []
    for listener in listeners:
        await listener.close()
    await attempt.write("two", n=3, offset=4, last=True)
    attempt.finished()
    assert await onlooker.believes() == f"completed: {HONEST}"
    assert await last_message(mesh.bus.edge, TASKS, f"tasks.*.*.{VICTIM}.*.submitted") is None


@pytest.mark.parametrize("subject", ["status.rogue", "status.ev!l", "status.other"])
@pytest.mark.parametrize("interval_s", [-1.0, float("nan"), float("inf"), 1e308])
async def test_a_report_that_cannot_be_is_no_report(mesh: InProcessMesh, rogue: Rogue, subject: str, interval_s: float):
    key = mesh.key()
    onlooker = Onlooker(mesh, key)
    await mesh.submit(key, model="rogue")
    attempt = await rogue.take(key)
    await attempt.write("one ", n=2, offset=0)
    rogue.link.send(subject, encode(NodeStatus(at_ms=0, interval_s=interval_s)))
    await rogue.ask(attempt)
    await attempt.write("two", n=3, offset=4, last=True)
    attempt.finished()
    assert await onlooker.believes() == f"completed: {HONEST}"


async def test_nothing_that_a_node_may_publish_reaches_the_registers_unread(mesh: InProcessMesh, rogue: Rogue):
    before = [(await stream_facts(mesh.bus.core, name)).last_sequence for name in (MODELS, DEVICES)]
    for subject in ("api.node.rogue.announce", "api.node.mesh.announce", "api.node.ev!l.announce", "status.rogue"):
        for words in (b"", b"\xc1", b"{}", encode(Ask(account="a", task="t", attempt=1))):
            rogue.link.send(subject, words, reply=f"{rogue.link.inbox}.x")
    await asyncio.sleep(0)
    await rogue.link.request(subjects.node_api(rogue.node, "ask"), b"")
    after = [(await stream_facts(mesh.bus.core, name)).last_sequence for name in (MODELS, DEVICES)]
    assert after == before
