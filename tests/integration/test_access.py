"""ACCESS on a real broker: fenced changes, a feed that keeps up, snapshots, and what a newer version wrote."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from mesh.access.feed import AccessFeed
from mesh.access.writer import AccessWriter
from mesh.errors import AccountError, WrittenByNewer
from mesh.history import tail
from mesh.history.snapshots import SnapshotStore
from streams import subjects
from streams.access.fold import LOCAL
from streams.subjects import CHECKS
from streams.tokens import Token
from tests.mesh_in_process import LIMIT_S, InProcessMesh
from tests.patient_links import wait_for_answers

ACME = Token("acme")
ADA, BOB = "did:key:z6Ada", "did:key:z6Bob"


@pytest.fixture(autouse=True)
def answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer of the broker counts as lost because this machine is slow."""
    wait_for_answers(monkeypatch)


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[InProcessMesh]:
    async with InProcessMesh(folder=tmp_path) as running:
        yield running


@pytest.fixture
async def feed(mesh: InProcessMesh) -> AsyncIterator[AccessFeed]:
    following = AccessFeed(mesh.bus.core)
    await following.start()
    yield following
    await following.stop()


async def test_a_feed_that_was_there_before_sees_every_change(mesh: InProcessMesh, feed: AccessFeed) -> None:
    writer = AccessWriter(mesh.bus.core)
    await writer.open(ACME, owner=ADA)
    await writer.join(ACME, BOB, "viewer")
    shown, sequence = await writer.issue(ACME, name="laptop", rights=("chat",), models=("m",))
    await feed.reach(sequence)
    assert (feed.access.role(ACME, ADA), feed.access.role(ACME, BOB)) == ("owner", "viewer")
    key = feed.access.key(shown.key_id)
    assert key is not None
    assert (key.account, key.digest, key.models, key.by) == (ACME, shown.digest, ("m",), "operator")
    assert shown.secret not in repr(shown)
    await writer.leave(ACME, BOB)
    await feed.reach(await writer.revoke(ACME, shown.key_id, reason="lost"))
    key = feed.access.key(shown.key_id)
    assert key is not None
    assert (key.revoked_because, feed.access.role(ACME, BOB)) == ("lost", None)


async def test_no_secret_is_stored(mesh: InProcessMesh) -> None:
    writer = AccessWriter(mesh.bus.core)
    shown, sequence = await writer.issue(LOCAL, name="", rights=("chat",))
    stored = await mesh.bus.core.request("$JS.API.STREAM.MSG.GET.ACCESS", b'{"seq": %d}' % sequence)
    assert msgspec.json.decode(stored.data)["message"]["subject"] == subjects.access(LOCAL)
    direct = await mesh.bus.core.request("$JS.API.DIRECT.GET.ACCESS", b'{"seq": %d}' % sequence)
    assert shown.digest.encode() in direct.data
    assert shown.secret.encode() not in direct.data


async def test_what_is_the_case_already_is_not_written_twice(mesh: InProcessMesh) -> None:
    writer = AccessWriter(mesh.bus.core)
    await writer.open(ACME)
    joined = await writer.join(ACME, ADA, "member")
    assert await writer.join(ACME, ADA, "member") == joined
    assert await writer.leave(ACME, BOB) == joined
    closed = await writer.close(ACME, reason="over")
    assert await writer.close(ACME, reason="again") == closed


@pytest.mark.parametrize("again", ["open", "closed"])
async def test_a_name_is_given_away_once(mesh: InProcessMesh, again: str) -> None:
    writer = AccessWriter(mesh.bus.core)
    await writer.open(ACME)
    if again == "closed":
        await writer.close(ACME, reason="over")
        with pytest.raises(AccountError, match="was closed, for ever: over"):
            await writer.join(ACME, ADA, "owner")
    with pytest.raises(AccountError, match="choose another name"):
        await writer.open(ACME)


async def test_a_change_that_makes_no_sense_is_refused(mesh: InProcessMesh) -> None:
    writer = AccessWriter(mesh.bus.core)
    with pytest.raises(AccountError, match="the mesh uses itself"):
        await writer.open(CHECKS)
    with pytest.raises(AccountError, match="there is no account acme"):
        await writer.join(ACME, ADA, "owner")
    with pytest.raises(AccountError, match="cannot be closed"):
        await writer.close(LOCAL, reason="no")
    with pytest.raises(AccountError, match="nobody can be owner of account local"):
        await writer.join(LOCAL, ADA, "owner")
    with pytest.raises(AccountError, match="has no key 'k'"):
        await writer.revoke(LOCAL, "k", reason="no")
    with pytest.raises(AccountError, match="good for nothing"):
        await writer.issue(LOCAL, name="", rights=())


async def test_of_many_who_change_an_account_at_once_each_gets_through(mesh: InProcessMesh, feed: AccessFeed) -> None:
    writers = [AccessWriter((await mesh.new_bus(f"w{number}")).core) for number in range(4)]
    await writers[0].open(ACME)
    joining = (writer.join(ACME, f"did:key:z6{number}", "member") for number, writer in enumerate(writers))
    sequences = await asyncio.gather(*joining)
    await feed.reach(max(sequences))
    account = feed.access.account(ACME)
    assert account is not None
    assert len(set(sequences)) == len(account.members) == len(writers)


async def test_of_two_who_open_the_same_account_one_is_told(mesh: InProcessMesh) -> None:
    writers = [AccessWriter(mesh.bus.core, by=did) for did in (ADA, BOB)]
    outcomes = await asyncio.gather(*(writer.open(ACME) for writer in writers), return_exceptions=True)
    assert sorted(isinstance(outcome, AccountError) for outcome in outcomes) == [False, True]


async def test_a_look_finds_what_was_just_stored_and_many_looks_are_one(mesh: InProcessMesh, feed: AccessFeed) -> None:
    await asyncio.gather(*(feed.look() for _ in range(50)))
    sequence = await AccessWriter(mesh.bus.core).open(ACME)
    async with asyncio.timeout(LIMIT_S):
        while feed.position < sequence:
            await feed.look()
            await asyncio.sleep(0)
    assert feed.access.account(ACME) is not None


async def test_a_feed_begins_at_its_snapshot(
    mesh: InProcessMesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tail, "SAVE_AT_STOP", 1)
    caplog.set_level(logging.WARNING)
    store = SnapshotStore(tmp_path / "snapshots")
    first = AccessFeed(mesh.bus.core, store)
    await first.start()
    await first.reach(await AccessWriter(mesh.bus.core).open(ACME, owner=ADA))
    await first.stop()
    second = AccessFeed(mesh.bus.core, store)
    await second.start()
    assert len(list((tmp_path / "snapshots").iterdir())) == 1
    assert (second.position, second.access.dump()) == (first.position, first.access.dump())
    await second.stop()
    assert [record.message for record in caplog.records if record.name.startswith("mesh.history")] == []


async def test_an_account_of_which_a_newer_version_wrote_is_neither_believed_nor_changed(
    mesh: InProcessMesh, feed: AccessFeed
) -> None:
    writer = AccessWriter(mesh.bus.core)
    await writer.open(ACME, owner=ADA)
    newer = msgspec.msgpack.encode({"type": "key.suspended.v1", "at_ms": 1})
    await feed.reach(await mesh.bus.core.append(subjects.access(ACME), newer))
    assert "key.suspended.v1" in (feed.access.unreadable(ACME) or "")
    assert feed.access.unreadable(LOCAL) is None
    with pytest.raises(WrittenByNewer, match="cannot be changed by this version"):
        await writer.join(ACME, BOB, "member")


async def test_noise_in_the_stream_changes_nothing(mesh: InProcessMesh, feed: AccessFeed) -> None:
    writer = AccessWriter(mesh.bus.core)
    await writer.open(ACME, owner=ADA)
    await mesh.bus.core.append(subjects.access(ACME), b"not an event")
    await feed.reach(await writer.join(ACME, BOB, "member"))
    assert (feed.access.role(ACME, BOB), feed.access.unreadable(ACME)) == ("member", None)
