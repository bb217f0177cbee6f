"""Who somebody is by the text that is shown, asked of the accounts on a real broker; no HTTP is needed for it."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from mesh.access.caller import local_caller
from mesh.access.credentials_check import CredentialsCheck
from mesh.access.feed import AccessFeed
from mesh.access.session_keys import SESSION_S, SessionKeys
from mesh.access.session_tokens import issue_session
from mesh.access.writer import AccessWriter
from mesh.errors import BusError, CredentialRefused, WrittenByNewer
from streams import subjects
from streams.access.fold import LOCAL
from streams.clock import now_ms
from streams.tokens import Token
from tests.mesh_in_process import InProcessMesh

ACME = Token("acme")
MUTATIONS = 10_000
ADA = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"


class Checked:
    """A check with its feed, a writer, and the keys of sessions."""

    def __init__(self, mesh: InProcessMesh) -> None:
        self.mesh = mesh
        self.feed = AccessFeed(mesh.bus.core)
        self.writer = AccessWriter(mesh.bus.core)
        self.sessions = SessionKeys.load_or_create(mesh.folder)
        self.check = CredentialsCheck(self.feed, self.sessions)

    def token(self, did: str = ADA, account: str = ACME, age_s: int = 0) -> str:
        now_s = now_ms() // 1000 - age_s
        return issue_session(self.sessions, did=did, account=account, role="member", now_s=now_s)[0]

    async def refused(self, text: str) -> str:
        with pytest.raises(CredentialRefused) as caught:
            await self.check.authenticate_text(text)
        assert text not in f"{caught.value} {caught.value.reason}"
        return str(caught.value)


@pytest.fixture
async def checked(tmp_path: Path) -> AsyncIterator[Checked]:
    async with InProcessMesh(folder=tmp_path) as mesh:
        made = Checked(mesh)
        await made.feed.start()
        await made.writer.open(ACME)
        yield made
        await made.feed.stop()


async def test_a_key_speaks_for_its_account_as_far_as_its_rights_go(checked: Checked) -> None:
    ends = now_ms() + 60_000
    shown, _ = await checked.writer.issue(ACME, name="n", rights=("chat",), models=("m",), expires_at_ms=ends)
    # Nobody has told the feed: who is not known is looked for once.
    caller = await checked.check.authenticate_text(shown.text)
    assert (caller.account, caller.how, caller.key_id, caller.role) == (ACME, "key", shown.key_id, None)
    assert (caller.rights, caller.models, caller.expires_at_ms) == ({"chat"}, ("m",), ends)
    assert caller.may_ask("m")
    assert not caller.may_ask("other")
    assert checked.check.still_holds(caller)


async def test_a_key_that_was_revoked_or_is_over_opens_nothing(checked: Checked) -> None:
    revoked, _ = await checked.writer.issue(ACME, name="", rights=("chat",))
    over, _ = await checked.writer.issue(ACME, name="", rights=("chat",), expires_at_ms=now_ms() - 1)
    caller = await checked.check.authenticate_text(revoked.text)
    await checked.feed.reach(await checked.writer.revoke(ACME, revoked.key_id, reason="lost"))
    assert "was revoked" in await checked.refused(revoked.text)
    assert "is over" in await checked.refused(over.text)
    assert not checked.check.still_holds(caller)


async def test_a_key_with_another_secret_or_id_is_told_nothing(checked: Checked) -> None:
    one, _ = await checked.writer.issue(ACME, name="", rights=("chat",))
    other, sequence = await checked.writer.issue(ACME, name="", rights=("chat",))
    await checked.feed.reach(sequence)
    said = {
        await checked.refused(f"ig3_{one.key_id}_{other.secret}"),
        await checked.refused(f"ig3_{'a' * 13}_{one.secret}"),
        await checked.refused("ig3_x"),
        await checked.refused(f"{one.text}x"),
    }
    assert said == {"This API key is not valid."}


async def test_a_session_speaks_with_the_role_that_its_did_has_now(checked: Checked) -> None:
    token = checked.token()
    await checked.writer.join(ACME, ADA, "member")
    caller = await checked.check.authenticate_text(token)
    assert (caller.account, caller.how, caller.did, caller.role) == (ACME, "session", ADA, "member")
    assert caller.rights == {"chat", "read"}
    await checked.feed.reach(await checked.writer.join(ACME, ADA, "viewer"))
    assert not checked.check.still_holds(caller)
    assert (await checked.check.authenticate_text(token)).rights == {"read"}
    await checked.feed.reach(await checked.writer.leave(ACME, ADA))
    assert "belong to account acme no longer" in await checked.refused(token)


async def test_a_session_that_is_over_is_refused_also_where_it_was_verified_before(
    checked: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    await checked.writer.join(ACME, ADA, "member")
    token = checked.token()
    caller = await checked.check.authenticate_text(token)
    at_the_end = now_ms() + SESSION_S * 1000
    monkeypatch.setattr("mesh.access.credentials_check.now_ms", lambda: at_the_end)
    assert "is over" in await checked.refused(token)
    assert not checked.check.still_holds(caller)


async def test_sessions_that_were_ended_all_at_once_are_refused_also_where_they_were_verified_before(
    checked: Checked,
) -> None:
    await checked.writer.join(ACME, ADA, "member")
    token = checked.token()
    await checked.check.authenticate_text(token)
    checked.sessions.rotate(end_all=True)
    assert "not valid" in await checked.refused(token)


async def test_a_closed_account_takes_its_keys_and_members_along(checked: Checked) -> None:
    await checked.writer.join(ACME, ADA, "member")
    shown, sequence = await checked.writer.issue(ACME, name="", rights=("chat",))
    await checked.feed.reach(sequence)
    callers = [await checked.check.authenticate_text(text) for text in (checked.token(), shown.text)]
    await checked.feed.reach(await checked.writer.close(ACME, reason="over"))
    assert [checked.check.still_holds(caller) for caller in callers] == [False, False]
    await checked.refused(checked.token())
    await checked.refused(shown.text)


async def test_nobody_is_let_in_where_a_newer_version_has_written(checked: Checked) -> None:
    await checked.writer.join(ACME, ADA, "member")
    shown, _ = await checked.writer.issue(ACME, name="", rights=("chat",))
    caller = await checked.check.authenticate_text(shown.text)
    newer = msgspec.msgpack.encode({"type": "key.suspended.v1", "at_ms": 1})
    await checked.feed.reach(await checked.mesh.bus.core.append(subjects.access(ACME), newer))
    for text in (shown.text, checked.token()):
        with pytest.raises(WrittenByNewer, match=r"key\.suspended\.v1"):
            await checked.check.authenticate_text(text)
    assert not checked.check.still_holds(caller)


async def test_whether_somebody_is_unknown_cannot_be_said_while_the_bus_is_away(checked: Checked) -> None:
    await checked.mesh.bus.core.close()
    # The second one comes so soon behind the first that nobody looks again for it.
    for _ in range(2):
        with pytest.raises(BusError):
            await checked.check.authenticate_text(f"ig3_{'a' * 13}_{'b' * 52}")


async def test_ten_thousand_tampered_keys_and_tokens_open_nothing(checked: Checked) -> None:
    chance = random.Random(401)
    await checked.writer.join(ACME, ADA, "member")
    shown, sequence = await checked.writer.issue(ACME, name="", rights=("chat",))
    await checked.feed.reach(sequence)
    good = (shown.text, checked.token())
    alphabet = "abcdefghijklmnopqrstuvwxyz234567ABCXYZ019-_.=+/ \n\0é"
    tried = 0
    while tried < MUTATIONS:
        text, letter = chance.choice(good), chance.choice(alphabet)
        place = chance.randrange(len(text))
        mutated = chance.choice(
            (
                text[:place] + letter + text[place + 1 :],
                text[:place] + letter + text[place:],
                text[:place] + text[place + 1 :],
                text[:place],
                text[place:] + text[:place],
                text + letter,
            )
        )
        if mutated in good:
            continue
        with pytest.raises(CredentialRefused):
            await checked.check.authenticate_text(mutated)
        tried += 1
    for text in good:
        assert (await checked.check.authenticate_text(text)).account == ACME


async def test_operators_are_those_with_the_right_to_manage_the_account_local(checked: Checked) -> None:
    keys = [
        await checked.writer.issue(LOCAL, name="", rights=("read", "admin")),
        await checked.writer.issue(LOCAL, name="", rights=("chat", "read")),
        await checked.writer.issue(ACME, name="", rights=("chat", "read", "admin")),
    ]
    await checked.feed.reach(keys[-1].sequence)
    callers = [await checked.check.authenticate_text(key.shown.text) for key in keys]
    assert [caller.is_operator for caller in callers] == [True, False, False]
    assert local_caller(LOCAL).is_operator
    assert checked.check.still_holds(local_caller(LOCAL))
