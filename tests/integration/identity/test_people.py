"""People on the bus, with an API key or a session: their account, as far as their rights go, as long as they hold."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import mesh as client_of
from mesh.access.session_keys import SessionKeys
from mesh.access.session_tokens import issue_session, read_session
from mesh.access.writer import AccessWriter
from mesh.bus.dialing import LinkOptions
from mesh.bus.link import Link
from mesh.client.key_login import KeyLogin
from mesh.errors import BusRefused, CredentialsError
from streams import subjects
from streams.access.events import Right, SessionEnded
from streams.access.limits import Limits
from streams.clock import now_ms
from streams.codec import encode
from streams.subjects import TaskKey
from streams.tasks.task_id import new_task_id
from streams.tokens import Token
from tests.integration.identity.showing import PATIENT
from tests.integration.identity.test_rights import Connected
from tests.mesh_in_process import InProcessMesh
from tests.processes import until

ACME, OTHER = Token("acme"), Token("other")
ADA = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"


@dataclass
class Office:
    """Where accounts are made and keys are issued."""

    mesh: InProcessMesh
    writer: AccessWriter

    async def key(self, *rights: Right, account: Token = ACME, **scope: object) -> str:
        shown, _ = await self.writer.issue(account, name="", rights=rights, **scope)  # type: ignore[arg-type]  # of each kind
        return shown.text

    async def connect(self, text: str, account: Token = ACME) -> Link:
        link = await Link.connect(
            LinkOptions(
                servers=(self.mesh.server.url,),
                name="somebody",
                inbox_prefix=subjects.user_inbox_prefix(account),
                login=KeyLogin(text),
                connect_timeout=PATIENT,
            )
        )
        self.mesh.stack.push_async_callback(link.close)
        return link

    async def refuses(self, text: str) -> bool:
        try:
            await self.connect(text)
        except BusRefused:
            return True
        return False


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with InProcessMesh(folder=tmp_path / "mesh") as mesh:
        made = Office(mesh, AccessWriter(mesh.bus.core))
        await made.writer.open(ACME)
        await made.writer.open(OTHER)
        yield made


async def test_a_key_opens_its_own_account_and_no_other(office: Office) -> None:
    member = Connected(await office.connect(await office.key("chat", "read")))
    assert await member.may_publish(subjects.submitted("standard", TaskKey(ACME, new_task_id())))
    assert await member.may_subscribe(subjects.live_of_account(ACME))
    assert not await member.may_publish(subjects.submitted("standard", TaskKey(OTHER, new_task_id())))
    assert not await member.may_subscribe(subjects.live_of_account(OTHER))
    assert not await member.may_publish(subjects.user_api(OTHER, "events"))


async def test_who_may_only_read_cannot_submit(office: Office) -> None:
    viewer = Connected(await office.connect(await office.key("read")))
    assert await viewer.may_subscribe(subjects.live_of_account(ACME))
    assert not await viewer.may_publish(subjects.submitted("standard", TaskKey(ACME, new_task_id())))
    assert not await viewer.may_publish(subjects.user_api(ACME, "cancel"))


async def test_a_key_that_is_wrong_over_revoked_or_narrower_than_the_broker_can_see_is_refused(office: Office) -> None:
    good = await office.key("chat")
    assert await office.refuses(good[:-1] + ("a" if good[-1] != "a" else "b"))
    assert await office.refuses("ig3_nonsense")
    assert await office.refuses(await office.key("chat", expires_at_ms=now_ms() - 1))
    assert await office.refuses(await office.key("chat", models=("small",)))
    assert await office.refuses(await office.key("chat", limits=Limits(requests_per_minute=1)))
    assert not await office.refuses(good)


async def test_a_revoked_key_is_cut_off_and_others_are_not(office: Office) -> None:
    lost, kept = await office.key("chat"), await office.key("chat")
    theirs, ours = await office.connect(lost), await office.connect(kept)
    await office.writer.revoke(ACME, lost.split("_")[1], reason="lost")
    await until(lambda: not theirs.is_connected)
    assert await office.refuses(lost)
    assert ours.is_connected


async def test_a_session_opens_the_account_until_its_holder_leaves_it(office: Office) -> None:
    await office.writer.join(ACME, ADA, "member")
    sessions = SessionKeys.load_or_create(office.mesh.folder)
    now_s = now_ms() // 1000
    text, _ = issue_session(sessions, did=ADA, account=ACME, role="member", now_s=now_s)
    link = await office.connect(text)
    await office.writer.leave(ACME, ADA)
    await until(lambda: not link.is_connected)
    assert await office.refuses(text)


async def test_any_identity_service_cuts_whom_another_has_let_in(office: Office) -> None:
    await office.writer.join(ACME, ADA, "member")
    sessions = SessionKeys.load_or_create(office.mesh.folder)

    def session() -> str:
        return issue_session(sessions, did=ADA, account=ACME, role="member", now_s=now_ms() // 1000)[0]

    lost, kept = await office.key("chat"), await office.key("chat")
    closing = await office.key("chat", account=OTHER)
    out, staying = session(), session()
    links = [await office.connect(text) for text in (lost, kept, out, staying)]
    last = await office.connect(closing, account=OTHER)
    # Who has let them in is gone, and its heir has never seen them.
    await office.mesh.stop_identity()
    await office.mesh.start_identity()
    await office.writer.revoke(ACME, lost.split("_")[1], reason="lost")
    await until(lambda: not links[0].is_connected)
    await office.writer.close(OTHER, reason="unpaid")
    await until(lambda: not last.is_connected)
    session_id = Token(read_session(sessions, out, now_s=now_ms() // 1000).sid)
    await office.mesh.bus.core.append(subjects.session(session_id), encode(SessionEnded(at_ms=now_ms(), did=ADA)))
    await until(lambda: not links[2].is_connected)
    assert await office.refuses(out)
    assert (links[1].is_connected, links[3].is_connected) == (True, True)
    sessions.rotate(end_all=True)
    await until(lambda: not links[3].is_connected)
    assert links[1].is_connected


async def test_who_lost_something_while_nobody_decided_is_cut_when_somebody_does_again(office: Office) -> None:
    lost = await office.key("chat")
    link = await office.connect(lost)
    await office.mesh.stop_identity()
    await office.writer.revoke(ACME, lost.split("_")[1], reason="lost")
    assert link.is_connected
    await office.mesh.start_identity()
    await until(lambda: not link.is_connected)


async def test_the_python_client_asks_with_a_key(office: Office) -> None:
    await office.mesh.add_dispatcher()
    await office.mesh.add_node()
    key = await office.key("chat", "read")
    async with await client_of.connect(office.mesh.server.url, account=ACME, api_key=key) as client:
        answer = await client.submit("synthetic", "hello", max_tokens=5)
        assert "".join([piece.text async for piece in answer])
    with pytest.raises(CredentialsError, match="may not read account 'other'"):
        await client_of.connect(office.mesh.server.url, account=OTHER, api_key=key)
