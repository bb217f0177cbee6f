"""Equal requests at once: one task for all of them, over gateways, and nobody's trouble becomes everybody's."""

import asyncio

import pytest
from aiohttp import ClientResponse

from mesh.access.writer import AccessWriter
from mesh.bus.direct_client import Delivery
from streams import subjects
from streams.codec import decode, encode
from streams.events import TaskError
from streams.messages import Cancel, CancelOutcome
from streams.tokens import Token
from tests.http_gateway import LIMIT_S, HttpGateway, Json, read_sse, text_of
from tests.integration.cache.conftest import Gateways, caching, had, hits_of, kept, question
from tests.processes import until
from tests.scripted_mesh import ScriptedMesh

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEXT = "one two three"
STREAM = {"stream": True}
CANCEL = {"x_ig3_on_disconnect": "cancel"}
FAILURE = TaskError(code="engine_error", message="The engine failed.", status=502)
REFUSAL = TaskError(code="context_length_exceeded", message="Too long.", status=400)


async def answered(response: ClientResponse) -> tuple[str, str]:
    """The task and the text of an answer, whole or streamed."""
    assert response.status == 200, await response.text()
    if response.content_type == "text/event-stream":
        return response.headers["x-ig3-task"], text_of(await read_sse(response))
    return response.headers["x-ig3-task"], (await response.json())["choices"][0]["message"]["content"]


def asking(gateway: HttpGateway, body: Json, **headers: str) -> asyncio.Task[ClientResponse]:
    return asyncio.create_task(gateway.ask(body, **headers))


def waiting(gateway: HttpGateway) -> int:
    """How many clients of a gateway wait for answers that others may wait for too."""
    return sum(flight.readers for flight in caching(gateway).cache._flights.values())


async def test_a_hundred_equal_requests_at_two_gateways_are_generated_once(
    mesh: ScriptedMesh, gateways: Gateways
) -> None:
    mesh.pause_after = 2
    one, other = await gateways.open(), await gateways.open()
    body = question()
    streamed = {**body, **STREAM}
    crowd = [asking(gateway, each) for each in (body, streamed) for gateway in (one, other) for _ in range(25)]
    await until(lambda: waiting(one) + waiting(other) == len(crowd))
    mesh.go.set()
    async with asyncio.timeout(LIMIT_S):
        answers = [await answered(response) for response in await asyncio.gather(*crowd)]
    assert len(set(answers)) == 1
    assert answers[0][1] == TEXT
    assert [had(each.result()) for each in crowd] == ["miss"] * 100
    assert len(mesh.submitted) == 1
    assert (waiting(one), waiting(other)) == (0, 0)


async def hung_up(gateway: HttpGateway, asked: asyncio.Task[ClientResponse]) -> None:
    """Have a client that reads a stream hang up, and wait until its gateway has noticed."""
    before = waiting(gateway)
    (await asked).close()
    await until(lambda: waiting(gateway) < before)


@pytest.mark.parametrize("place", ["here", "elsewhere"])
async def test_a_client_that_hangs_up_does_not_take_the_answer_from_those_who_wait_for_it(
    mesh: ScriptedMesh, gateways: Gateways, place: str
) -> None:
    mesh.pause_after = 1
    one = await gateways.open()
    other = one if place == "here" else await gateways.open()
    body = question(**STREAM)
    leader = asking(one, body, **CANCEL)
    await mesh.paused.wait()
    await leader
    follower = asking(other, body, **CANCEL)
    await until(lambda: waiting(one) + waiting(other) == (4 if place == "here" else 2))
    await follower
    await hung_up(one, leader)
    await caching(one).cache.settle()
    mesh.go.set()
    assert (await answered(follower.result()))[1] == TEXT
    assert len(mesh.submitted) == 1


async def test_what_nobody_waits_for_any_more_is_cancelled_and_the_next_begins_anew(
    mesh: ScriptedMesh, gateways: Gateways
) -> None:
    mesh.pause_after = 1
    gateway, body = await gateways.open(), question(**STREAM)

    def on_cancel(delivery: Delivery) -> None:
        task = decode(delivery.data, Cancel).task
        mesh._cancelled.add(task)
        mesh.go.set()
        mesh.bus.core.reply_to(delivery, encode(CancelOutcome(task=task, outcome="cancelled")))

    # In CORE, where services ask for it.
    listener = await mesh.bus.core.listen(subjects.user_api_all("cancel"), on_cancel)
    leader = asking(gateway, body, **CANCEL)
    await mesh.paused.wait()
    await hung_up(gateway, leader)
    # The script goes on when it is cancelled.
    await until(mesh.go.is_set)
    await listener.close()
    mesh.pause_after = None
    task, text = await answered(await gateway.ask(body))
    assert text == TEXT
    assert task != (await leader).headers["x-ig3-task"]
    assert len(mesh.submitted) == 2


async def failing(
    mesh: ScriptedMesh, gateways: Gateways, error: TaskError
) -> tuple[asyncio.Task[ClientResponse], list[asyncio.Task[ClientResponse]]]:
    """A leader and three followers at two gateways whose task fails, before any of them has seen anything."""
    mesh.pause_after = 1
    one, other = await gateways.open(), await gateways.open()
    body = question()
    leader = asking(one, body)
    await mesh.paused.wait()
    followers = [asking(gateway, body) for gateway in (one, other, other)]
    await until(lambda: waiting(one) + waiting(other) == 4)
    # Behind the failure the script pauses again, and does better.
    go, mesh.go = mesh.go, asyncio.Event()
    mesh.error = error
    go.set()
    await leader
    mesh.error = None
    mesh.go.set()
    return leader, followers


async def test_one_of_those_who_wait_takes_over_where_a_task_fails(mesh: ScriptedMesh, gateways: Gateways) -> None:
    leader, followers = await failing(mesh, gateways, FAILURE)
    assert leader.result().status == 502
    async with asyncio.timeout(LIMIT_S):
        answers = {await answered(await follower) for follower in followers}
    assert len(answers) == 1
    ((task, text),) = answers
    assert text == TEXT
    assert task != leader.result().headers["x-ig3-task"]
    assert len(mesh.submitted) == 2


async def test_what_is_wrong_with_the_request_is_found_out_once(mesh: ScriptedMesh, gateways: Gateways) -> None:
    leader, followers = await failing(mesh, gateways, REFUSAL)
    async with asyncio.timeout(LIMIT_S):
        assert {(await follower).status for follower in followers} == {400} == {leader.result().status}
    assert len(mesh.submitted) == 1


async def test_who_waits_where_every_task_fails_is_told_so(mesh: ScriptedMesh, gateways: Gateways) -> None:
    mesh.error = FAILURE
    gateway, body = await gateways.open(), question()
    async with asyncio.timeout(LIMIT_S):
        statuses = {response.status for response in await asyncio.gather(*(gateway.ask(body) for _ in range(10)))}
    assert statuses == {502}
    assert len(mesh.submitted) <= 10


async def test_who_cannot_wait_for_so_long_has_a_task_of_its_own(mesh: ScriptedMesh, gateways: Gateways) -> None:
    mesh.pause_after = 1
    gateway, body = await gateways.open(), question()
    leader = asking(gateway, body, x_ig3_urgency="batch")
    await mesh.paused.wait()
    urgent = asking(gateway, body, x_ig3_urgency="interactive")
    hasty = asking(gateway, body, x_ig3_urgency="batch", x_ig3_deadline_ms="20000")
    await until(lambda: len(mesh.submitted) == 3)
    mesh.go.set()
    assert [had(await each) for each in (leader, urgent, hasty)] == ["miss", "bypass", "bypass"]


async def given_again(mesh: ScriptedMesh, task: str, *gateways: HttpGateway) -> list[tuple[str, int, int]]:
    """What the gateways have noted of a task's answer: whose it was, its tokens, and how often it was given again."""
    # A hit is noted behind the last byte of its answer, before its client counts as gone.
    await until(lambda: not any(waiting(gateway) for gateway in gateways))
    events = await hits_of(mesh, Token("local"), *gateways)
    return sorted((one.owner, one.usage.completion_tokens, one.times) for one in events if one.task == task)


@pytest.mark.parametrize("form", [{}, STREAM])
async def test_who_follows_to_the_end_has_a_hit_and_neither_who_had_it_generated_nor_who_hangs_up(
    mesh: ScriptedMesh, gateways: Gateways, form: Json
) -> None:
    mesh.pause_after = 1
    one, other = await gateways.open(), await gateways.open()
    body = question()
    leader = asking(one, {**body, **form})
    await mesh.paused.wait()
    followers = [asking(gateway, {**body, **form}) for gateway in (one, other, other)]
    leaves = asking(one, {**body, **STREAM})
    await until(lambda: waiting(one) + waiting(other) == 5)
    await hung_up(one, leaves)
    mesh.go.set()
    async with asyncio.timeout(LIMIT_S):
        answers = {await answered(await each) for each in (leader, *followers)}
    ((task, text),) = answers
    assert text == TEXT
    # Each gateway writes what its own clients were given.
    assert await given_again(mesh, task, one, other) == [("local", 3, 1), ("local", 3, 2)]


async def test_two_who_ask_at_once_are_one_task_and_one_hit(mesh: ScriptedMesh, gateways: Gateways) -> None:
    gateway, body = await gateways.open(), question()
    async with asyncio.timeout(LIMIT_S):
        answers = [await answered(each) for each in await asyncio.gather(gateway.ask(body), gateway.ask(body))]
    ((task, _),) = set(answers)
    assert len(mesh.submitted) == 1
    assert await given_again(mesh, task, gateway) == [("local", 3, 1)]


async def test_nobody_has_a_hit_where_the_task_fails(mesh: ScriptedMesh, gateways: Gateways) -> None:
    mesh.pause_after = 1
    one, other = await gateways.open(), await gateways.open()
    body = question(**STREAM)
    leader = asking(one, body)
    await mesh.paused.wait()
    follower = asking(other, body)
    await until(lambda: waiting(other) == 1)
    task = (await leader).headers["x-ig3-task"]
    await follower
    mesh.error = FAILURE
    mesh.go.set()
    async with asyncio.timeout(LIMIT_S):
        assert "engine_error" in (await read_sse(await follower))[-1].data  # type: ignore[operator]  # there is one
    assert await given_again(mesh, task, one, other) == []


async def test_a_claim_whose_gateway_died_before_it_submitted_is_taken_up(
    mesh: ScriptedMesh, gateways: Gateways
) -> None:
    one, other = await gateways.open(), await gateways.open()
    body = question()
    crowd = caching(one).cache
    entered: list[str] = []
    enter = crowd.enter

    async def enter_and_die(*arguments: object, **named: object) -> object:
        found = await enter(*arguments, **named)  # type: ignore[arg-type]  # whatever the handler has passed
        entered.append(found.task)  # type: ignore[union-attr]  # a flight, since nothing is there
        raise asyncio.CancelledError

    crowd.enter = enter_and_die  # type: ignore[method-assign]  # the gateway dies in the middle of it
    dying = asking(one, body)
    await until(lambda: bool(entered))
    task, text = await answered(await other.ask(body))
    assert ([task], text) == (entered, TEXT)
    assert len(mesh.submitted) == 1
    # Who had to have it submitted pays for the task alone.
    assert await given_again(mesh, task, other) == []
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)


async def test_who_is_let_in_no_longer_reads_no_further(mesh: ScriptedMesh, gateways: Gateways) -> None:
    mesh.pause_after = 1
    gateway, body, writer = await gateways.open(), question(**STREAM), AccessWriter(mesh.bus.core)
    closing = Token("closing")
    await writer.open(closing)
    issued = await writer.issue(closing, name="test", rights=("chat",))
    await gateway.access.reach(issued.sequence)
    key = {"Authorization": f"Bearer {issued.shown.text}"}
    leader = asking(gateway, body, **key)
    await mesh.paused.wait()
    follower = asking(gateway, body, **key)
    await until(lambda: waiting(gateway) == 2)
    await follower
    await gateway.access.reach(await writer.close(closing, reason="test"))
    for each in (leader, follower):
        assert "access_revoked" in (await read_sse(await each))[-1].data  # type: ignore[operator]  # there is one
    mesh.go.set()


async def test_a_task_that_ended_while_nobody_waited_is_read_and_kept(mesh: ScriptedMesh, gateways: Gateways) -> None:
    mesh.pause_after = 1
    one, other = await gateways.open(), await gateways.open()
    body = question(**STREAM)
    leader = asking(one, body)
    await mesh.paused.wait()
    await hung_up(one, leader)
    mesh.go.set()
    task = (await leader).headers["x-ig3-task"]
    assert await kept(other, body) == task
    again = await one.ask(body)
    assert (had(again), await answered(again)) == ("hit", (task, TEXT))
    assert len(mesh.submitted) == 1
