"""A task that is published straight on the bus passes the same gate as one that comes by a gateway."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from gateway.dispatcher.ending import stored_end
from gateway.limits.limiter import Limiter
from gateway.limits.price import price_of_task
from gateway.limits.reads import Reads
from gateway.settings import GatewaySettings
from gateway.user_api import UserApi
from mesh.access.passed_mark import PASSED, passed_mark
from mesh.access.session_keys import SessionKeys
from mesh.access.writer import AccessWriter
from mesh.bus.answer import Step
from mesh.client.user_source import UserCalls
from mesh.errors import WrittenByNewer
from streams import subjects
from streams.clock import now_ms
from streams.codec import encode
from streams.events import TaskCompleted, TaskError, TaskSubmitted
from streams.messages import Cancel, CancelOutcome, Refusal
from streams.subjects import TaskKey
from streams.tasks.chat import Message, Sampling
from streams.tasks.metering import Metered
from streams.tasks.task import TaskState
from streams.tasks.task_id import new_task_id
from streams.tokens import Token
from tests.http_gateway import LIMIT_S, serve_http
from tests.mesh_in_process import InProcessMesh, RunningDispatcher
from tests.packed import packed
from tests.patient_limits import be_patient
from tests.processes import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOW_MS = now_ms()
LIMITS: dict[str, Any] = {
    "requests_per_minute": 1000,
    "requests_per_minute_of": ("often=2", "both=3", "forger=1"),
    "tokens_per_minute_of": ("long=1000", "moved=1000"),
    "concurrent_streams_of": ("wide=1",),
    "most_output_tokens_of": ("brief=2",),
    "most_seconds_of": ("brief=20",),
    "reads_per_minute_of": ("local=2",),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[InProcessMesh]:
    with pytest.MonkeyPatch.context() as patch:
        be_patient(patch)
        async with InProcessMesh(folder=tmp_path_factory.mktemp("entrance")) as running:
            yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def dispatcher(mesh: InProcessMesh) -> RunningDispatcher:
    running = still(await mesh.add_dispatcher(gateway=GatewaySettings(**LIMITS)))
    await mesh.add_node(delay_ms=2)
    return running


def still(dispatcher: RunningDispatcher) -> RunningDispatcher:
    """Let no time pass for its limits, so that nothing is paid back however slow this machine is."""
    limiter_of(dispatcher)._clock = lambda: NOW_MS
    return dispatcher


def limiter_of(dispatcher: RunningDispatcher) -> Limiter:
    return dispatcher.dispatcher._entrance._limiter


def tokens_left(dispatcher: RunningDispatcher, account: str) -> int:
    meter = next(meter for owner, meter in limiter_of(dispatcher)._meters.items() if owner.name == account)
    standing = meter.standing("tokens")
    assert standing is not None
    return standing.remaining


async def end_of(mesh: InProcessMesh, account: str, **asked: Any) -> TaskError | None:
    """Why a task came to nothing, or None."""
    return verdict(await mesh.steps(await mesh.submit(mesh.key(account), tokens=3, **asked)))


def verdict(steps: list[Step]) -> TaskError | None:
    state = steps[-1].state
    assert state.outcome == ("completed" if state.error is None else "failed")
    return state.error


async def published(
    mesh: InProcessMesh, key: TaskKey, *headers: tuple[str, str], api_key: str | None = None
) -> TaskError | None:
    """Publish a task with headers of one's own, and see it to its end."""
    asked = TaskSubmitted(
        model="synthetic",
        messages=(Message(role="user", content="x"),),
        sampling=Sampling(max_tokens=3),
        key=api_key,
    )
    await mesh.bus.edge.append(subjects.submitted("standard", key), encode(asked), headers=headers)
    return verdict(await mesh.steps(key))


async def test_a_task_of_a_closed_account_ends_as_http_would_have_said(
    mesh: InProcessMesh, dispatcher: RunningDispatcher
) -> None:
    writer = AccessWriter(mesh.bus.core)
    await writer.open(Token("gone"))
    assert await end_of(mesh, "gone") is None
    await dispatcher.access.reach(await writer.close(Token("gone"), reason="unpaid"))
    error = await end_of(mesh, "gone")
    assert error is not None
    assert (error.code, error.status) == ("invalid_api_key", 401)
    assert "was closed" in error.message


async def test_more_requests_than_an_account_may_make_fail_with_what_http_says(
    mesh: InProcessMesh, dispatcher: RunningDispatcher
) -> None:
    assert [await end_of(mesh, "often") for _ in range(2)] == [None, None]
    # What is refused for another reason costs nothing, and is told for that reason.
    unknown = await end_of(mesh, "often", model="unknown")
    assert unknown is not None
    assert unknown.code == "model_not_found"
    refused = await end_of(mesh, "often")
    assert refused is not None
    assert (refused.code, refused.status) == ("rate_limit_exceeded", 429)
    assert "account often on requests per minute: limit 2, remaining 0" in refused.message
    assert await end_of(mesh, "another") is None
    assert await end_of(mesh, "local") is None


async def test_what_has_paid_at_a_gateway_does_not_pay_again_and_both_share_one_limit(
    mesh: InProcessMesh, dispatcher: RunningDispatcher
) -> None:
    writer, account = AccessWriter(mesh.bus.core), Token("both")
    await writer.open(account)
    issued = await writer.issue(account, name="test", rights=("chat",))
    async with serve_http(mesh.bus, auth="required", **LIMITS) as gateway:
        gateway.limiter._clock = lambda: NOW_MS
        await gateway.until_served()
        key = {"Authorization": f"Bearer {issued.shown.text}"}
        answers = [await gateway.ask(None, **key) for _ in range(2)]
        assert [answer.status for answer in answers] == [200, 200]
        # The gateway says which key asked.
        task = TaskKey(account, Token(answers[0].headers["x-ig3-task"]))
        end = await stored_end(mesh.bus, task)
        assert end is not None
        assert end.metered == Metered(key=issued.shown.key_id)
        assert await end_of(mesh, account) is None
        refused = await end_of(mesh, account)
        assert refused is not None
        assert refused.code == "rate_limit_exceeded"
        assert (await gateway.ask(None, **key)).status == 429


async def test_a_mark_that_nobody_gave_is_none(mesh: InProcessMesh, dispatcher: RunningDispatcher) -> None:
    sessions, account = SessionKeys.load_or_create(mesh.folder), Token("forger")
    assert await end_of(mesh, account) is None
    keys = [TaskKey(account, new_task_id()) for _ in range(4)]
    given = [passed_mark(sessions, subjects.submitted("standard", key)) for key in keys]
    of_another_class = passed_mark(sessions, subjects.submitted("batch", keys[0]))
    for key, shown in zip(keys, (given[-1], of_another_class, "", "é"), strict=True):
        refused = await published(mesh, key, (PASSED, shown))
        assert refused is not None
        assert refused.code == "rate_limit_exceeded"
    key = TaskKey(account, new_task_id())
    assert await published(mesh, key, (PASSED, passed_mark(sessions, subjects.submitted("standard", key)))) is None


async def test_a_task_on_the_bus_is_counted_for_a_key_of_its_own_account_and_no_other(
    mesh: InProcessMesh, dispatcher: RunningDispatcher
) -> None:
    writer, owner, other = AccessWriter(mesh.bus.core), Token("owner"), Token("other")
    await writer.open(owner)
    key_id = (await writer.issue(owner, name="test", rights=("chat",))).shown.key_id
    own = TaskKey(owner, new_task_id())
    assert await published(mesh, own, api_key=key_id) is None
    end = await stored_end(mesh.bus, own)
    assert isinstance(end, TaskCompleted)
    assert end.metered == Metered(key=key_id)
    for named in (key_id, "nobody"):
        refused = await published(mesh, TaskKey(other, new_task_id()), api_key=named)
        assert refused is not None
        assert (refused.code, refused.status, refused.param) == ("invalid_value", 400, "key")


async def test_tokens_are_reserved_before_and_settled_by_what_was_used(
    mesh: InProcessMesh, dispatcher: RunningDispatcher
) -> None:
    assert [await end_of(mesh, "long") for _ in range(3)] == [None] * 3
    # Some of the prompt and three of the answer each time; what was reserved was more.
    assert 1000 - 3 * 20 <= tokens_left(dispatcher, "long") < 1000
    key = await mesh.submit(mesh.key("long"), tokens=2000)
    refused = verdict(await mesh.steps(key))
    assert refused is not None
    assert "Request too large for account long on tokens per minute" in refused.message


async def test_a_task_on_the_bus_is_a_stream_for_as_long_as_it_runs(
    mesh: InProcessMesh, dispatcher: RunningDispatcher
) -> None:
    first = await mesh.submit(mesh.key("wide"), tokens=100_000)
    await mesh.reached(first, 3)
    refused = await end_of(mesh, "wide")
    assert refused is not None
    assert "on concurrent streams: limit 1" in refused.message
    await mesh.bus.core.request(subjects.user_api(first.account, "cancel"), encode(Cancel(task=first.task)))
    assert (await mesh.steps(first))[-1].state.outcome == "cancelled"
    assert await end_of(mesh, "wide") is None


@pytest.mark.usefixtures("dispatcher")
async def test_answers_to_a_task_on_the_bus_are_within_the_bounds_of_its_account(mesh: InProcessMesh) -> None:
    async def asked(**fields: Any) -> TaskState:
        key = mesh.key("brief")
        task = TaskSubmitted(model="synthetic", messages=(Message(role="user", content="hello"),), **fields)
        await mesh.bus.edge.append(subjects.submitted("standard", key), encode(task))
        return (await mesh.steps(key))[-1].state

    late, long = now_ms() + 60_000, Sampling(max_tokens=3)
    for fields, param in (({"sampling": long}, "max_tokens"), ({"deadline_at_ms": late}, "deadline_at_ms")):
        error = (await asked(**fields)).error
        assert error is not None
        assert (error.code, error.status, error.param) == ("invalid_value", 400, param)
    short = await asked()
    assert short.usage is not None
    assert (short.outcome, short.usage.completion_tokens) == ("completed", 2)


@pytest.mark.usefixtures("dispatcher")
async def test_an_account_asks_so_many_questions_on_the_bus_and_is_then_told_to_wait(mesh: InProcessMesh) -> None:
    user, task = await mesh.connect_user(), new_task_id()
    subject, answers = subjects.user_api(Token("local"), "cancel"), list[object]()
    for data in (encode(Cancel(task=task)), b"nonsense", encode(Cancel(task=task))):
        reply = await user.request(subject, data)
        answers.append(msgspec.msgpack.decode(reply.data, type=CancelOutcome | Refusal))
    assert answers[0] == CancelOutcome(task=task, outcome="unknown")
    assert [(answer.code, answer.status) for answer in answers[1:] if isinstance(answer, Refusal)] == [
        ("invalid_request_error", 400),
        ("rate_limit_exceeded", 429),
    ]
    assert isinstance(answers[2], Refusal)
    assert answers[2].message.startswith("Rate limit reached for account local on reads per minute: limit 2")
    # What gateways ask for their clients was counted there.
    await mesh.bus.core.request(subject, encode(Cancel(task=task)))


async def test_a_client_that_has_asked_too_often_asks_again_when_there_is_room(
    mesh: InProcessMesh, dispatcher: RunningDispatcher
) -> None:
    key, clock_ms = await mesh.submit(tokens=2), [NOW_MS]
    await mesh.steps(key)
    reads = Reads(None, {"local": 1}, clock=lambda: clock_ms[0])
    counted: list[Refusal | None] = []

    def refuse(subject: str) -> Refusal | None:
        counted.append(Reads.refusal(reads, subject))
        return counted[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reads, "refusal", refuse)
        await mesh.user_api.stop()
        mesh.user_api = UserApi(mesh.bus, reads)
        await mesh.user_api.start()
    calls = UserCalls(await mesh.connect_user(), Token("local"), patience=timedelta(seconds=LIMIT_S))
    first = await calls.events(key.task, after=0)
    asking = asyncio.create_task(calls.events(key.task, after=0))
    await until(lambda: len(counted) > 2)
    assert [refusal is None for refusal in counted[:2]] == [True, False]
    clock_ms[0] += 60_000
    assert await asking == first


async def test_what_a_dispatcher_has_reserved_its_heir_settles_by_what_was_used(
    mesh: InProcessMesh, dispatcher: RunningDispatcher
) -> None:
    mesh.pace.hold(5)
    key = await mesh.submit(mesh.key("moved"), tokens=900)
    await mesh.written(key, 5)
    # No room for it a second time.
    heir = still(await mesh.add_dispatcher("d2", gateway=GatewaySettings(**LIMITS)))
    await dispatcher.stop()
    assert 60 <= tokens_left(dispatcher, "moved") < 100, "who stops gives back as little as who is killed"
    await mesh.bus.core.request(subjects.user_api(key.account, "cancel"), encode(Cancel(task=key.task)))
    ends = [(await mesh.steps(key))[-1].state]
    mesh.pace.let_go()
    ends.append((await mesh.steps(await mesh.submit(mesh.key("moved"), tokens=3)))[-1].state)
    assert tokens_left(heir, "moved") == 1000 - sum(map(used, ends))


def used(end: TaskState) -> int:
    """What a task counts: as the node has it; of an answer that is not whole, the prompt's guess and what there is."""
    if end.usage is not None:
        return end.usage.total_tokens
    asked = TaskSubmitted(model="", messages=(Message(role="user", content="hello"),))
    return price_of_task(asked, answer_tokens=0).prompt + sum(share.tokens for share in end.shares)


async def test_nobody_is_believed_about_an_account_of_which_a_newer_version_wrote(mesh: InProcessMesh) -> None:
    heir, account = await mesh.add_dispatcher("d3"), Token("newer")
    newer = packed({"type": "account.paused.v1", "at_ms": 1})
    await heir.access.reach(await mesh.bus.core.append(subjects.access(account), newer))
    with pytest.raises(WrittenByNewer, match="account newer"):
        heir.dispatcher._entrance.account_error(account)
