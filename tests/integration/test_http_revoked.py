"""A running answer is cut where what it was asked with is taken away; the task itself goes on."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from mesh.access import credentials_check
from mesh.access.session_keys import SessionKeys
from mesh.access.session_tokens import issue_session
from mesh.access.writer import AccessWriter
from streams.clock import now_ms
from streams.tasks.task_id import new_task_id
from streams.tokens import Token
from tests.http_gateway import HttpGateway, Json, data_dir_of, serve_http, sse_events
from tests.processes import until
from tests.scripted_mesh import ScriptedMesh, scripted_mesh

ACME = Token("acme")
ADA = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("patient_answers")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ScriptedMesh]:
    async with scripted_mesh(tmp_path_factory.mktemp("mesh")) as mesh:
        await mesh.bus.follow()
        await AccessWriter(mesh.bus.core).open(ACME)
        yield mesh


@pytest_asyncio.fixture(loop_scope="module")
async def mesh(running: ScriptedMesh) -> ScriptedMesh:
    """Every answer waits behind its second word until `go`."""
    running.words, running.pause_after, running.submitted = ("one ", "two ", "three "), 2, []
    running.go, running.paused = asyncio.Event(), asyncio.Event()
    return running


@pytest_asyncio.fixture(loop_scope="module")
async def gateway(mesh: ScriptedMesh) -> AsyncIterator[HttpGateway]:
    async with serve_http(mesh.bus, auth="required") as running:
        yield running


@pytest.fixture
def writer(mesh: ScriptedMesh) -> AccessWriter:
    return AccessWriter(mesh.bus.core)


async def a_key(
    gateway: HttpGateway, writer: AccessWriter, expires_at_ms: int | None = None
) -> tuple[str, dict[str, str]]:
    """A new key: its id, and the header that shows it."""
    issued = await writer.issue(ACME, name="test", rights=("chat", "read"), expires_at_ms=expires_at_ms)
    await gateway.access.reach(issued.sequence)
    return issued.shown.key_id, {"Authorization": f"Bearer {issued.shown.text}"}


async def a_session(gateway: HttpGateway, writer: AccessWriter) -> dict[str, str]:
    await gateway.access.reach(await writer.join(ACME, ADA, "member"))
    keys = SessionKeys.load_or_create(data_dir_of(gateway.bus))
    token, _ = issue_session(keys, did=ADA, account=ACME, role="member", now_s=now_ms() // 1000)
    return {"Authorization": f"Bearer {token}"}


async def streaming(gateway: HttpGateway, shown: dict[str, str], task: str) -> AsyncIterator[Json]:
    """A stream of which the first words have come."""
    reading = sse_events(await gateway.ask({"stream": True}, x_ig3_task=task, **shown))
    first = await anext(reading)
    assert first.data is not None
    return (event.json async for event in reading if event.data not in {None, "[DONE]"})


async def last_of(reading: AsyncIterator[Json]) -> Json:
    return [event async for event in reading][-1]


async def test_every_way_to_read_an_answer_is_cut_with_its_key_and_the_task_goes_on(
    mesh: ScriptedMesh, gateway: HttpGateway, writer: AccessWriter
) -> None:
    (key_id, key), (_, other), task = await a_key(gateway, writer), await a_key(gateway, writer), new_task_id()
    told = await streaming(gateway, key, task)
    followed = await gateway.get(f"/v1/tasks/{task}/events", **key)
    await followed.content.readline()
    seen = await gateway.get(f"/v1/tasks/{task}/events", **other)
    waiting = asyncio.create_task(gateway.ask(None, x_ig3_task=new_task_id(), **key))
    await until(lambda: len(mesh.submitted) == 2)

    await writer.revoke(ACME, key_id, reason="lost")
    error = (await last_of(told))["error"]
    assert (error["code"], error["type"]) == ("access_revoked", "authentication_error")
    assert b'event: error\ndata: {"error":{"message":"The key or the session' in await followed.read()
    whole = await waiting
    assert (whole.status, (await whole.json())["error"]["code"]) == (401, "access_revoked")
    # Nobody has stopped the task, and who may still read it reads all of it.
    mesh.go.set()
    assert '"outcome":"completed"' in (await seen.text()).splitlines()[-2]


async def test_an_answer_is_cut_with_the_membership_and_with_the_right_that_it_needs(
    mesh: ScriptedMesh, gateway: HttpGateway, writer: AccessWriter
) -> None:
    session = await a_session(gateway, writer)
    told = await streaming(gateway, session, new_task_id())
    # Another role that may do the same takes nothing away.
    await gateway.access.reach(await writer.join(ACME, ADA, "owner"))
    await gateway.access.reach(await writer.join(ACME, ADA, "viewer"))
    assert (await last_of(told))["error"]["code"] == "access_revoked"


async def test_an_answer_is_cut_with_its_session_and_not_with_another(
    mesh: ScriptedMesh, gateway: HttpGateway, writer: AccessWriter
) -> None:
    ending, staying = await a_session(gateway, writer), await a_session(gateway, writer)
    cut, kept = [await streaming(gateway, shown, new_task_id()) for shown in (ending, staying)]
    assert (await gateway.post("/v1/auth/sign-out", {}, **ending)).status == 204
    assert (await last_of(cut))["error"]["code"] == "access_revoked"
    mesh.go.set()
    assert (await last_of(kept))["choices"][0]["finish_reason"] == "stop"


async def test_an_answer_outlives_the_end_of_a_key_that_was_good_when_it_began(
    mesh: ScriptedMesh, gateway: HttpGateway, writer: AccessWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, key = await a_key(gateway, writer, expires_at_ms=now_ms() + 3_600_000)
    told = await streaming(gateway, key, new_task_id())
    monkeypatch.setattr(credentials_check, "now_ms", lambda: now_ms() + 7_200_000)
    assert (await gateway.get("/v1/models", **key)).status == 401
    await a_key(gateway, writer)
    mesh.go.set()
    assert (await last_of(told))["choices"][0]["finish_reason"] == "stop"
