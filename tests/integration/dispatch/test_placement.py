"""Where real dispatchers place tasks that say where they may run, and what the nodes' answers teach them."""

from gateway.dispatcher.ending import stored_end
from mesh.identity.device_log import DeviceLog
from streams.events import TaskAssigned, TaskFailed, TaskQueued
from streams.tasks.placing import Rules
from streams.tokens import token
from tests.mesh_in_process import InProcessMesh

PRIVATE = Rules(policy="private")


async def test_a_private_task_waits_for_a_device_of_its_account_and_goes_nowhere_else(mesh: InProcessMesh):
    await mesh.add_dispatcher()
    await mesh.add_node("public")
    await mesh.add_node("own", delay_ms=5)

    key = await mesh.submit(mesh.key("lab"), rules=PRIVATE)
    await mesh.reached(key, 1)
    devices = DeviceLog(mesh.bus.core)
    await devices.start()
    await devices.admit(token("own"), by="operator", owner="lab")
    await devices.stop()
    steps = await mesh.steps(key)

    waited, assigned = steps[0].event, steps[1].event
    assert isinstance(waited, TaskQueued)
    assert waited.reason == "2 node(s) serve this model: it is not the account's own"
    assert isinstance(assigned, TaskAssigned)
    assert (assigned.node, assigned.policy) == ("own", "private.v1")
    assert {each.node: each.rejected for each in assigned.candidates} == {
        "own": None,
        "public": "it is not the account's own",
    }
    assert steps[-1].state.outcome == "completed"


async def test_a_policy_that_there_is_not_is_refused_however_the_task_came(mesh: InProcessMesh):
    await mesh.add_dispatcher()
    key = await mesh.submit(rules=Rules(policy="privat"))
    assert (await mesh.steps(key))[-1].state.outcome == "failed"
    end = await stored_end(mesh.bus, key)
    assert isinstance(end, TaskFailed)
    assert (end.error.status, end.error.param) == (400, "rules.policy")


async def test_a_conversation_goes_back_to_the_node_that_has_read_it(mesh: InProcessMesh):
    await mesh.add_dispatcher()
    for name in ("n1", "n2", "n3"):
        await mesh.add_node(name)
    text = "what was said before, and is said again with every turn of a conversation. " * 100

    first = (await mesh.steps(await mesh.submit(text=text)))[-1].state.node
    second = (await mesh.steps(await mesh.submit(text=text + "And one more turn.")))[0].event

    assert isinstance(second, TaskAssigned)
    assert second.node == first
    assert "cached" in {part.name for part in second.candidates[0].parts}


async def test_a_task_that_waits_for_something_particular_lets_others_by(mesh: InProcessMesh):
    await mesh.add_dispatcher()
    await mesh.add_node()
    private = await mesh.submit(rules=PRIVATE)
    await mesh.reached(private, 1)

    for _ in range(3):
        assert (await mesh.steps(await mesh.submit()))[-1].state.outcome == "completed"
