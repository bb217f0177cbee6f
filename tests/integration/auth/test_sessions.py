"""A session goes on while it is renewed, for so long and no longer; signed out, it is over everywhere at once."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
import pytest_asyncio

from gateway.auth import sessions
from mesh.access.session_keys import SESSION_S
from mesh.access.writer import AccessWriter
from mesh.bus.dialing import LinkOptions
from mesh.bus.link import Link
from mesh.client.key_login import KeyLogin
from mesh.errors import BusRefused
from mesh.identity.did import did_key
from mesh.identity.keys import SigningKey
from mesh.identity.subject_proof import prove
from streams import subjects
from streams.clock import now_ms
from streams.tokens import Token
from tests.bridge_server import Socket
from tests.http_gateway import HttpGateway, Json, serve_http
from tests.mesh_in_process import InProcessMesh
from tests.processes import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

ACME = Token("acme")
KEY = SigningKey("ed25519", bytes(range(4, 36)))
DID = did_key(KEY.public)


@dataclass(kw_only=True)
class Two:
    """Two gateways of one mesh, and whoever makes accounts."""

    mesh: InProcessMesh
    writer: AccessWriter
    here: HttpGateway
    there: HttpGateway

    async def key(self) -> tuple[str, dict[str, str]]:
        """A new key: its id, and the header that shows it."""
        issued = await self.writer.issue(ACME, name="test", rights=("chat", "read"))
        for gateway in (self.here, self.there):
            await gateway.access.reach(issued.sequence)
        return issued.shown.key_id, {"Authorization": f"Bearer {issued.shown.text}"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def two(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Two]:
    async with InProcessMesh(folder=tmp_path_factory.mktemp("sessions")) as mesh:
        await mesh.add_dispatcher()
        await mesh.add_node(interval_s=5)
        writer, other = AccessWriter(mesh.bus.core), await mesh.new_bus("other")
        await other.follow()
        await writer.open(ACME)
        joined = await writer.join(ACME, DID.text, "member")
        async with serve_http(mesh.bus, auth="required") as here, serve_http(other, auth="required") as there:
            for gateway in (here, there):
                await gateway.access.reach(joined)
                await gateway.until_served()
            yield Two(mesh=mesh, writer=writer, here=here, there=there)


async def sign_in(gateway: HttpGateway) -> Json:
    challenge = await (await gateway.post("/v1/auth/challenge", {"method": "did", "did": DID.text})).json()
    proof = prove(DID, KEY, challenge["message"].encode())
    body = {"method": "did", "did": DID.text, "algorithm": "ed25519", "nonce": challenge["nonce"]}
    response = await gateway.post("/v1/auth/login", {**body, "signature": proof.signature.hex()})
    assert response.status == 200, await response.text()
    return await response.json()


def bearer(session: Json) -> dict[str, str]:
    return {"Authorization": f"Bearer {session['token']}"}


async def renew(gateway: HttpGateway, session: Json) -> tuple[int, Json]:
    response = await gateway.post("/v1/auth/renew", {}, **bearer(session))
    return response.status, await response.json()


async def status(gateway: HttpGateway, session: Json) -> int:
    return (await gateway.get("/v1/models", **bearer(session))).status


async def test_a_session_is_renewed_without_the_wallet_and_by_any_gateway(two: Two) -> None:
    first = await sign_in(two.here)
    assert (first["expires_in"], first["session_expires_in"]) == (SESSION_S, 12 * 3600)
    code, second = await renew(two.there, first)
    assert (code, second["expires_in"], second["account"], second["role"]) == (200, SESSION_S, "acme", "member")
    assert second["token"] != first["token"]
    assert [await status(two.here, session) for session in (first, second)] == [200, 200]


async def test_a_sign_in_goes_on_for_so_long_and_no_longer(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve_http(two.mesh.bus, auth="required", session_limit=timedelta(seconds=1000)) as gateway:
        await gateway.access.look()
        began_ms = now_ms()
        monkeypatch.setattr(sessions, "now_ms", lambda: began_ms)
        session = await sign_in(gateway)
        assert (session["expires_in"], session["session_expires_in"]) == (SESSION_S, 1000)
        monkeypatch.setattr(sessions, "now_ms", lambda: began_ms + 400_000)
        _, renewed = await renew(gateway, session)
        assert renewed["expires_in"] == renewed["session_expires_in"] == 600
        monkeypatch.setattr(sessions, "now_ms", lambda: began_ms + 1_000_000)
        code, refused = await renew(gateway, session)
        assert (code, refused["error"]["code"]) == (401, "invalid_api_key")
        assert "sign in again" in refused["error"]["message"]


async def test_who_signs_out_is_out_everywhere(two: Two) -> None:
    session, other = await sign_in(two.here), await sign_in(two.here)
    _, renewed = await renew(two.here, session)
    link = await on_the_bus(two, renewed)
    async with two.there.session.ws_connect(f"{two.there.url}/ws", headers=bearer(renewed)) as ws:
        socket = Socket(ws)
        await socket.until_type("hello")
        response = await two.here.post("/v1/auth/sign-out", {}, **bearer(session))
        assert (response.status, await response.read()) == (204, b"")
        assert await socket.until_closed() == 4401
    # Every token of that sign-in, wherever it is shown; another sign-in of the same person goes on.
    assert [await status(two.here, each) for each in (session, renewed, other)] == [401, 401, 200]
    assert [await status(two.there, each) for each in (session, renewed, other)] == [401, 401, 200]
    await until(lambda: not link.is_connected)
    with pytest.raises(BusRefused):
        await on_the_bus(two, renewed)
    again = await two.here.post("/v1/auth/sign-out", {}, **bearer(session))
    assert "You have signed out" in (await again.json())["error"]["message"]


async def on_the_bus(two: Two, session: Json) -> Link:
    options = LinkOptions(
        servers=(two.mesh.server.url,),
        name="page",
        inbox_prefix=subjects.user_inbox_prefix(ACME),
        login=KeyLogin(session["token"]),
    )
    link = await Link.connect(options)
    two.mesh.stack.push_async_callback(link.close)
    return link


async def test_a_gateway_that_has_not_heard_of_an_end_renews_nothing_all_the_same(two: Two) -> None:
    late_bus = await two.mesh.new_bus("late")
    async with serve_http(late_bus, auth="required") as late:
        session = await sign_in(two.here)
        assert (await renew(late, session))[0] == 200
        # It hears nothing by itself any more.
        await late.access._sessions.stop()
        await two.here.post("/v1/auth/sign-out", {}, **bearer(session))
        assert await status(late, session) == 200
        assert (await renew(late, session))[0] == 401


async def test_a_key_is_no_session(two: Two) -> None:
    _, key = await two.key()
    for path in ("/v1/auth/renew", "/v1/auth/sign-out"):
        refused = await two.here.post(path, {}, **key)
        assert (refused.status, (await refused.json())["error"]["code"]) == (400, "not_a_session")
