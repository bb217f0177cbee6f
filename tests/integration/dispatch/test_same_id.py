"""One task id in two accounts: whoever knows an id may submit it under its own account, and that harms nobody."""

import asyncio

from mesh.bus.answer import Step
from streams import subjects
from streams.codec import decode, encode
from streams.devices.probe import Probe
from streams.events import TaskAssigned, TaskChunk
from streams.messages import Ask, Cancel, CancelOutcome, Refused, Standing, Stop
from streams.subjects import TaskKey
from streams.tokens import token
from tests.mesh_in_process import InProcessMesh, text_of
from tests.processes import until

ALICE, BOB = token("alice"), token("bob")
TOKENS = 60


async def asked_by_both(mesh: InProcessMesh) -> list[tuple[TaskKey, TaskKey]]:
    """Start a mesh of several dispatchers and one node; all of alice's and bob's tasks run, held at their beginning."""
    for name in ("d1", "d2", "d3"):
        await mesh.add_dispatcher(name)
    await mesh.add_node(slots=16)
    mesh.pace.hold(5)
    ids = [mesh.key(ALICE) for _ in range(4)]
    for key in ids:
        await mesh.submit(key, tokens=TOKENS, text="what alice asks")
    await asyncio.gather(*(mesh.written(key, 5) for key in ids))
    twins = [TaskKey(BOB, key.task) for key in ids]
    for twin in twins:
        await mesh.submit(twin, tokens=TOKENS, text="something of bob's")
    await asyncio.gather(*(mesh.written(twin, 5) for twin in twins))
    return list(zip(ids, twins, strict=True))


async def alone(mesh: InProcessMesh, text: str) -> str:
    """What is answered to a task whose id nobody else has."""
    return text_of(await mesh.steps(await mesh.submit(tokens=TOKENS, text=text)))


def attempts(steps: list[Step]) -> list[int]:
    return [step.event.attempt for step in steps if isinstance(step.event, TaskAssigned)]


async def test_two_accounts_with_one_id_get_each_its_own_answer_at_the_first_attempt(mesh: InProcessMesh) -> None:
    pairs = await asked_by_both(mesh)
    mesh.pace.let_go()
    hers, his = await alone(mesh, "what alice asks"), await alone(mesh, "something of bob's")
    assert hers != his

    for key, twin in pairs:
        for one, text in ((key, hers), (twin, his)):
            steps = await mesh.steps(one)
            assert steps[-1].state.outcome == "completed"
            assert attempts(steps) == [1]
            assert text_of(steps) == text
            stored = await mesh.bus.log.read(one)
            assert "".join(event.text for _, _, event in stored if isinstance(event, TaskChunk)) == text


async def test_a_cancel_ends_the_task_of_its_account_and_not_its_namesake(mesh: InProcessMesh) -> None:
    pairs = await asked_by_both(mesh)

    for _, twin in pairs:
        answer = await mesh.bus.core.request(subjects.user_api(BOB, "cancel"), encode(Cancel(task=twin.task)))
        assert decode(answer.data, CancelOutcome).outcome == "cancelled"

    mesh.pace.let_go()
    for key, _ in pairs:
        steps = await mesh.steps(key)
        assert steps[-1].state.outcome == "completed"
        assert attempts(steps) == [1]


async def test_what_a_node_or_a_dispatcher_says_of_the_one_is_not_heard_for_the_other(mesh: InProcessMesh) -> None:
    running = await mesh.add_dispatcher()
    node = await mesh.add_node()
    mesh.pace.hold(5)
    key = await mesh.submit(mesh.key(ALICE), tokens=TOKENS)
    await mesh.written(key, 5)

    stop = Stop(task=key.task, attempt=1, reason="bob's was stopped", account=BOB)
    refused = Refused(task=key.task, attempt=1, dispatcher=running.dispatcher.name, code="x", message="y", account=BOB)
    mesh.bus.edge.send(subjects.node_inbox(node.name, "stop"), encode(stop))
    node.link.send(subjects.node_api(node.name, "refused"), encode(refused))
    # Both have heard it once they have answered what came behind it.
    await mesh.bus.edge.request(subjects.node_inbox(node.name, "probe"), encode(Probe(model="synthetic")))
    ask = Ask(account=ALICE, task=key.task, attempt=1)
    standing = await node.link.request(subjects.node_api(node.name, "ask"), encode(ask))
    assert decode(standing.data, Standing).yours
    mesh.pace.let_go()

    steps = await mesh.steps(key)
    assert steps[-1].state.outcome == "completed"
    assert attempts(steps) == [1]


async def test_messages_of_older_programs_that_do_not_say_the_account_are_understood(mesh: InProcessMesh) -> None:
    running = await mesh.add_dispatcher()
    node = await mesh.add_node()
    mesh.pace.hold(5)
    key = await mesh.submit(mesh.key(ALICE), tokens=TOKENS)
    await mesh.written(key, 5)

    refused = Refused(task=key.task, attempt=1, dispatcher=running.dispatcher.name, code="node_stopping", message="y")
    node.link.send(subjects.node_api(node.name, "refused"), encode(refused))
    await until(lambda: [run.attempt for run in node.worker.running()] == [2])
    mesh.pace.let_go()
    steps = await mesh.steps(key)
    assert steps[-1].state.outcome == "completed"
    assert attempts(steps) == [1, 2]
