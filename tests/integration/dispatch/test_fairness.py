"""Who is served first when not all can be, and what a dispatcher tells the gateways of it."""

import asyncio
from datetime import timedelta

from streams import subjects
from streams.codec import decode, encode
from streams.events import TaskAssigned
from streams.messages import AccountBacklog, Backlog, Cancel, CancelOutcome, ModelBacklog
from streams.subjects import ServiceClass, TaskKey
from tests.mesh_in_process import LIMIT_S, InProcessMesh
from tests.processes import until


async def waiting(mesh: InProcessMesh, account: str, *, count: int, service_class: ServiceClass) -> list[TaskKey]:
    """Submit tasks for which there is no node yet, and wait until each has been told so."""
    keys = [await mesh.submit(mesh.key(account), tokens=3, service_class=service_class) for _ in range(count)]
    await asyncio.gather(*(mesh.reached(key, 1) for key in keys))
    return keys


async def in_order_of_assignment(mesh: InProcessMesh, keys: list[TaskKey]) -> list[TaskKey]:
    """Wait for all to end; returns them as they were begun."""
    begun: list[tuple[int, TaskKey]] = []
    for key, steps in zip(keys, await asyncio.gather(*(mesh.steps(key) for key in keys)), strict=True):
        begun += [(step.event.at_ms, key) for step in steps if isinstance(step.event, TaskAssigned)]
    return [key for _, key in sorted(begun, key=lambda one: one[0])]


async def test_a_person_is_served_before_work_that_can_wait(mesh: InProcessMesh) -> None:
    await mesh.add_dispatcher()
    batch = await waiting(mesh, "a", count=6, service_class="batch")
    standard = await waiting(mesh, "a", count=2, service_class="standard")
    interactive = await waiting(mesh, "a", count=2, service_class="interactive")

    await mesh.add_node(slots=1, delay_ms=2)
    order = await in_order_of_assignment(mesh, batch + standard + interactive)

    assert set(order[:2]) == set(interactive)
    assert set(order[2:4]) == set(standard)


async def test_accounts_take_turns_however_much_one_of_them_asks(mesh: InProcessMesh) -> None:
    await mesh.add_dispatcher()
    much = await waiting(mesh, "much", count=12, service_class="standard")
    little = await waiting(mesh, "little", count=2, service_class="standard")

    await mesh.add_node(slots=1, delay_ms=2)
    order = await in_order_of_assignment(mesh, much + little)

    assert set(little) <= set(order[:4])


async def test_tasks_beyond_what_is_held_of_an_account_wait_and_others_are_served(mesh: InProcessMesh) -> None:
    await mesh.add_dispatcher(account_limit=5, window=10)
    much = [await mesh.submit(mesh.key("much"), tokens=3) for _ in range(25)]
    other = await mesh.submit(mesh.key("other"), tokens=3)
    await mesh.reached(other, 1)
    await mesh.add_node()

    ends = await asyncio.gather(*(mesh.steps(key) for key in (*much, other)))
    assert {steps[-1].state.outcome for steps in ends} == {"completed"}
    await mesh.all_acknowledged("standard")


async def test_an_account_that_floods_the_bus_is_refused_with_a_time_to_come_back(mesh: InProcessMesh) -> None:
    await mesh.add_dispatcher(account_limit=5, account_overflow=10, window=20)
    flood = [await mesh.submit(mesh.key("flood"), tokens=3) for _ in range(60)]
    other = await mesh.submit(mesh.key("other"), tokens=3)
    await mesh.reached(other, 1)
    await mesh.add_node()

    ends = await asyncio.gather(*(mesh.steps(key) for key in flood))
    assert (await mesh.steps(other))[-1].state.outcome == "completed"

    errors = [error for steps in ends if (error := steps[-1].state.error)]
    assert {(error.code, error.status) for error in errors} == {("rate_limit_exceeded", 429)}
    assert "Try again in 10 s" in errors[0].message
    assert len(flood) - len(errors) >= 15
    await mesh.all_acknowledged("standard")


async def test_what_waits_beyond_the_limit_is_told_to_the_gateways_and_can_be_cancelled(mesh: InProcessMesh) -> None:
    reports = asyncio.Queue[Backlog]()
    await mesh.bus.core.listen(
        subjects.BACKLOG_ALL, lambda delivery: reports.put_nowait(decode(delivery.data, Backlog))
    )
    # Both before anybody takes them, so that they are handed out together.
    first, second = [await mesh.submit(mesh.key("a"), service_class="batch") for _ in range(2)]
    await mesh.add_dispatcher(account_limit=1)
    held = await heard(reports, ModelBacklog(model="synthetic", service_class="batch", waiting=2))
    assert held.accounts == (AccountBacklog(account="a", waiting=2),)
    await mesh.reached(first, 1)

    answer = await mesh.bus.core.request(
        subjects.user_api(second.account, "cancel"),
        encode(Cancel(task=second.task)),
        timeout=timedelta(seconds=LIMIT_S),
    )
    assert decode(answer.data, CancelOutcome).outcome == "cancelled"
    assert (await mesh.steps(second))[-1].state.outcome == "cancelled"


async def test_what_a_dead_dispatcher_had_begun_is_taken_over_whatever_the_account_has_open(
    mesh: InProcessMesh,
) -> None:
    first = await mesh.add_dispatcher("d1", account_limit=1)
    await mesh.add_node()
    mesh.pace.hold(5)
    keys = [await mesh.submit(mesh.key("a"), tokens=400)]
    await mesh.written(keys[0], 5)
    heir = await mesh.add_dispatcher("d2", account_limit=1)
    await first.vanish()
    # So the heir has its fill when the dead one's task comes.
    keys.append(await mesh.submit(mesh.key("a"), tokens=400))
    lives = heir.dispatcher.lives
    await until(lambda: keys[0] in lives and lives[keys[0]].posting.node == "n1")
    mesh.pace.let_go()
    assert {steps[-1].state.attempt for steps in await asyncio.gather(*(mesh.steps(key) for key in keys))} == {1}


async def test_gateways_hear_what_a_dispatcher_holds_and_that_it_left(mesh: InProcessMesh) -> None:
    reports = asyncio.Queue[Backlog]()
    await mesh.bus.core.listen(
        subjects.BACKLOG_ALL, lambda delivery: reports.put_nowait(decode(delivery.data, Backlog))
    )
    dispatcher = await mesh.add_dispatcher()
    keys = await waiting(mesh, "a", count=3, service_class="batch")

    queue = ModelBacklog(model="synthetic", service_class="batch", waiting=3)
    held = await heard(reports, queue)
    assert held.accounts == (AccountBacklog(account="a", waiting=3),)

    await mesh.add_node(delay_ms=2)
    await in_order_of_assignment(mesh, keys)
    ended = ModelBacklog(model="synthetic", service_class="batch", ended_per_s=0.1)
    assert (await heard(reports, ended)).accounts == ()

    await dispatcher.dispatcher.stop()
    async with asyncio.timeout(LIMIT_S):
        while (await reports.get()).models:
            pass


async def heard(reports: asyncio.Queue[Backlog], queue: ModelBacklog) -> Backlog:
    async with asyncio.timeout(LIMIT_S):
        while queue not in (report := await reports.get()).models:
            pass
    return report
