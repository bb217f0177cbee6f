"""Who is slowed down over HTTP, and who is sent away: who guesses, asks for too much, or takes every place."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio
from aiohttp import WSServerHandshakeError

from gateway.auth.failed_logins import ADDRESS_PATIENCE, CHALLENGE_PATIENCE
from mesh.access.api_keys import new_key
from mesh.access.writer import AccessWriter
from streams.tasks.task_id import new_task_id
from streams.tokens import Token
from tests.bridge_server import Socket
from tests.identity_in_process import device_did
from tests.limited_gateway import ACME, NOW_MS, a_key, status, verdict, with_keys
from tests.processes import until
from tests.scripted_mesh import ScriptedMesh, scripted_mesh

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("patient_answers")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ScriptedMesh]:
    async with scripted_mesh(tmp_path_factory.mktemp("mesh")) as running:
        await running.bus.follow()
        await AccessWriter(running.bus.core).open(ACME)
        yield running


def wrong_key() -> dict[str, str]:
    return {"Authorization": f"Bearer {new_key().text}"}


async def test_an_address_that_guesses_is_slowed_and_who_was_right_before_is_not(mesh: ScriptedMesh) -> None:
    async with with_keys(mesh, auth="required") as gateway:
        known, unknown = await a_key(mesh, gateway), await a_key(mesh, gateway)
        assert await status(gateway.get("/v1/models", **known)) == 200
        statuses = [await status(gateway.get("/v1/models", **wrong_key())) for _ in range(ADDRESS_PATIENCE.free + 1)]
        assert statuses == [401] * len(statuses)
        for shown in (wrong_key(), unknown):
            refused = await gateway.get("/v1/models", **shown)
            assert await verdict(refused) == (429, "too_many_attempts", "rate_limit_error")
            assert int(refused.headers["Retry-After"]) >= 1
        assert await status(gateway.get("/v1/models", **known)) == 200
        # Who shows nothing is told so, and nothing is held against them.
        assert await status(gateway.get("/v1/models")) == 401


async def test_a_websocket_is_a_door_as_well(mesh: ScriptedMesh) -> None:
    async with with_keys(mesh, auth="required") as gateway:
        good, url = await a_key(mesh, gateway), f"{gateway.url}/ws"
        async with gateway.session.ws_connect(url, protocols=("ig3.v1.json",)) as ws:
            socket = Socket(ws)
            await socket.until_type("hello")
            for _ in range(ADDRESS_PATIENCE.free + 1):
                with pytest.raises(WSServerHandshakeError, match="401"):
                    await gateway.session.ws_connect(url, headers=wrong_key())
            await socket.send(type="authenticate", token=new_key().text)
            assert (await socket.until_type("error"))["code"] == "too_many_attempts"
        with pytest.raises(WSServerHandshakeError, match="429"):
            await gateway.session.ws_connect(url, headers=good)


async def test_reading_is_counted_by_itself_on_http_and_on_the_websocket(mesh: ScriptedMesh) -> None:
    async with with_keys(mesh, auth="required", reads_per_minute=3, requests_per_minute=1) as gateway:
        gateway.door.reads._clock = lambda: NOW_MS
        good, url = await a_key(mesh, gateway), f"{gateway.url}/ws"
        assert [await status(gateway.ask(None, **good)) for _ in range(2)] == [200, 429]
        assert await status(gateway.get("/v1/models", **good)) == 200
        async with gateway.session.ws_connect(url, protocols=("ig3.v1.json",), headers=good) as ws:
            socket = Socket(ws)
            await socket.send(type="subscribe", topic="nodes")
            await socket.until_type("subscribed")
            await socket.send(type="subscribe", topic="nodes")
            assert (await socket.until_type("error"))["code"] == "rate_limit_exceeded"
            for path in ("/v1/models", f"/v1/tasks/{new_task_id()}", "/v1/auth/me", "/v1/nothing"):
                refused = await gateway.get(path, **good)
                assert await verdict(refused) == (429, "rate_limit_exceeded", "requests")
                assert refused.headers["Retry-After"] == "20"
            with pytest.raises(WSServerHandshakeError, match="429"):
                await gateway.session.ws_connect(url, headers=good)


async def test_an_account_has_so_many_websockets_at_a_gateway_and_leaves_the_others_theirs(mesh: ScriptedMesh) -> None:
    settings, beta = {"websockets_per_account": 2, "websockets_per_account_of": ("beta=none",)}, Token("beta")
    await AccessWriter(mesh.bus.core).open(beta)
    async with with_keys(mesh, auth="required", **settings) as gateway, AsyncExitStack() as stack:
        good, other = await a_key(mesh, gateway), await a_key(mesh, gateway, account=beta)

        async def connect(headers: dict[str, str] | None = None) -> Socket:
            opened = gateway.session.ws_connect(f"{gateway.url}/ws", protocols=("ig3.v1.json",), headers=headers or {})
            return Socket(await stack.enter_async_context(opened))

        first, _ = await connect(good), await connect(good)
        refused = await gateway.get("/ws", **good, Upgrade="websocket", Connection="Upgrade")
        assert await verdict(refused) == (429, "rate_limit_exceeded", "requests")
        assert refused.headers["Retry-After"] == "5"
        late, guest = await connect(), await connect(other)
        await late.send(type="authenticate", token=good["Authorization"].removeprefix("Bearer "))
        assert await late.until_closed() == 4529
        # Who has a connection already keeps it as whose it was.
        await guest.send(type="authenticate", token=good["Authorization"].removeprefix("Bearer "))
        error = await guest.until_type("error")
        assert (error["code"], "on open websockets: limit 2" in error["message"]) == ("rate_limit_exceeded", True)
        await guest.send(type="ping")
        await guest.until_type("pong")
        # It shows the same key again, and takes no second place.
        await first.send(type="authenticate", token=good["Authorization"].removeprefix("Bearer "))
        await first.until_type("authenticated")
        await first.ws.close()
        await until(lambda: gateway.door.places.taken(ACME) == 1)
        assert (await (await connect(good)).until_type("hello"))["account"] == ACME


async def test_clients_behind_a_trusted_proxy_are_told_apart(mesh: ScriptedMesh) -> None:
    async with with_keys(mesh, auth="required", trusted_proxies=("127.0.0.0/8",)) as gateway:
        good, guesser = await a_key(mesh, gateway), {"X-Forwarded-For": "198.51.100.1"}
        for _ in range(ADDRESS_PATIENCE.free + 1):
            assert await status(gateway.get("/v1/models", **wrong_key(), **guesser)) == 401
        assert await status(gateway.get("/v1/models", **good, **guesser)) == 429
        # What the client itself has written before the proxy did changes nothing.
        behind = {"X-Forwarded-For": "203.0.113.5, 198.51.100.1"}
        assert await status(gateway.get("/v1/models", **good, **behind)) == 429
        assert await status(gateway.get("/v1/models", **good, X_Forwarded_For="203.0.113.5")) == 200


async def test_without_a_trusted_proxy_nobody_chooses_an_address(mesh: ScriptedMesh) -> None:
    async with with_keys(mesh, auth="required") as gateway:
        for number in range(ADDRESS_PATIENCE.free + 1):
            response = await gateway.get("/v1/models", **wrong_key(), X_Forwarded_For=f"198.51.100.{number}")
            assert response.status == 401
        assert await status(gateway.get("/v1/models", **wrong_key(), X_Forwarded_For="198.51.100.99")) == 429


async def test_failed_sign_ins_count_as_well(mesh: ScriptedMesh) -> None:
    did = device_did("somebody").text
    nonsense = {"method": "did", "did": did, "algorithm": "ed25519", "nonce": "0" * 76, "signature": "00"}
    async with with_keys(mesh) as gateway:
        statuses = [await status(gateway.post("/v1/auth/login", nonsense)) for _ in range(ADDRESS_PATIENCE.free + 2)]
    assert statuses[-1] == 429
    assert set(statuses[:-1]) == {401}


async def test_challenges_are_counted_by_address(mesh: ScriptedMesh) -> None:
    asked = {"method": "did", "did": device_did("somebody").text}
    async with with_keys(mesh) as gateway:
        gateway.door.failures._clock = lambda: 0.0
        statuses = [await status(gateway.post("/v1/auth/challenge", asked)) for _ in range(CHALLENGE_PATIENCE.free)]
        refused = await gateway.post("/v1/auth/challenge", asked)
        assert set(statuses) == {200}
        assert await verdict(refused) == (429, "too_many_attempts", "rate_limit_error")
        assert refused.headers["Retry-After"] == "1"
        gateway.door.failures._clock = lambda: 2.0
        assert await status(gateway.post("/v1/auth/challenge", asked)) == 200
