"""Projections from snapshots and tails, on a real broker that restarts, forgets and is wiped."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from mesh.bus.dialing import LinkOptions
from mesh.bus.link import Link
from mesh.errors import BusError
from mesh.history.ordered import FROM_NOW, OrderedReader, Start
from mesh.history.replay import Replay, replay
from mesh.history.snapshots import SnapshotStore
from mesh.history.stream_facts import stream_facts
from tests.nats_server import NatsServer

pytestmark = pytest.mark.usefixtures("patient_answers")

STREAM = "LOG"


class Tally:
    """Counts per subject and remembers in which order events came."""

    def __init__(self, version: int = 1) -> None:
        self.name = "tally"
        self.version = version
        self.counts: dict[str, int] = {}
        self.sequences: list[int] = []
        self.applied = 0

    def apply(self, sequence: int, subject: str, data: bytes) -> None:
        self.counts[subject] = self.counts.get(subject, 0) + int(data)
        self.sequences.append(sequence)
        self.applied += 1

    def dump(self) -> bytes:
        return msgspec.json.encode((self.counts, self.sequences))

    def load(self, data: bytes) -> None:
        self.counts, self.sequences = msgspec.json.decode(data, type=tuple[dict[str, int], list[int]])


async def make_stream(link: Link, **config: object) -> None:
    body = {"name": STREAM, "subjects": ["log.>"], "allow_direct": True, **config}
    await link.request(f"$JS.API.STREAM.CREATE.{STREAM}", json.dumps(body).encode())


async def write(link: Link, count: int, *, subject: str = "log.a") -> None:
    for first in range(0, count, 200):
        await asyncio.gather(*(link.append(subject, b"1") for _ in range(first, min(count, first + 200))))


@pytest.fixture
async def link(nats_server: NatsServer) -> AsyncIterator[Link]:
    connected = await Link.connect(LinkOptions(servers=(nats_server.url,), name="t", inbox_prefix="_INBOX.t"))
    await make_stream(connected)
    yield connected
    await connected.close()


@pytest.fixture
def store(tmp_path: Path) -> SnapshotStore:
    return SnapshotStore(tmp_path / "snapshots")


async def rebuilt(link: Link, store: SnapshotStore | None = None, **options: object) -> tuple[Tally, int]:
    """A projection brought up to date from nothing or from a snapshot, and the snapshot's sequence."""
    tally = Tally()
    async with await replay(link, STREAM, tally, snapshots=store, **options) as done:  # type: ignore[arg-type] # the options of replay
        return tally, done.loaded_sequence


async def saved(link: Link, store: SnapshotStore) -> None:
    async with await replay(link, STREAM, Tally(), snapshots=store) as done:
        await done.save()


async def test_a_replay_ends_at_the_end(link: Link) -> None:
    await write(link, 5000)
    tally, _ = await rebuilt(link)
    assert tally.counts == {"log.a": 5000}
    assert tally.sequences == list(range(1, 5001))


async def test_an_empty_stream_is_replayed_at_once(link: Link) -> None:
    assert (await rebuilt(link))[0].applied == 0


async def test_a_stream_that_is_not_there_is_told_from_an_empty_one(link: Link) -> None:
    with pytest.raises(BusError, match="there is no stream NOPE"):
        await replay(link, "NOPE", Tally())


async def test_snapshot_and_tail_equal_the_full_replay(link: Link, store: SnapshotStore) -> None:
    await write(link, 300)
    await saved(link, store)
    await write(link, 50, subject="log.b")
    from_snapshot, loaded = await rebuilt(link, store)
    full, _ = await rebuilt(link)
    assert (loaded, from_snapshot.applied) == (300, 50)
    assert from_snapshot.dump() == full.dump()


async def test_a_snapshot_is_written_when_it_is_worth_it(link: Link, store: SnapshotStore) -> None:
    await write(link, 250)
    assert (await rebuilt(link, store, save_every=251))[1] == 0
    assert (await rebuilt(link, store, save_every=250))[1] == 0
    assert (await rebuilt(link, store))[1] == 250


async def test_a_filter_reads_only_its_subjects(link: Link, store: SnapshotStore) -> None:
    await write(link, 20)
    await write(link, 30, subject="log.b")
    await write(link, 5)
    tally, _ = await rebuilt(link, store, filters=["log.b"], save_every=1)
    assert tally.counts == {"log.b": 30}
    # What was read through one filter is no state of another.
    assert (await rebuilt(link, store))[1] == 0


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.01)


async def back(link: Link, reconnects: int) -> None:
    await until(lambda: link.client.stats["reconnects"] > reconnects and link.is_connected)


def the_files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "snapshots").glob("*.snapshot"))


@pytest.mark.parametrize("damage", ["cut", "altered", "empty", "not ours"])
async def test_a_damaged_snapshot_is_left_out_and_the_older_one_used(
    link: Link, store: SnapshotStore, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    await write(link, 100)
    await saved(link, store)
    await write(link, 100)
    await saved(link, store)
    newest = the_files(tmp_path)[-1]
    content = newest.read_bytes()
    damaged = {
        "cut": content[:-1],
        "altered": content[:-1] + bytes([content[-1] ^ 1]),
        "empty": b"",
        "not ours": b"hello" * 30,
    }
    newest.write_bytes(damaged[damage])
    tally, loaded = await rebuilt(link, store)
    assert (loaded, tally.counts) == (100, {"log.a": 200})
    assert "it is damaged" in caplog.text


async def test_a_snapshot_of_another_version_is_left_out(
    link: Link, store: SnapshotStore, caplog: pytest.LogCaptureFixture
) -> None:
    await write(link, 100)
    async with await replay(link, STREAM, Tally(version=2), snapshots=store) as newer:
        await newer.save()
    assert (await rebuilt(link, store))[1] == 0
    assert "its version is 2, not 1" in caplog.text


async def test_a_state_that_cannot_be_loaded_leaves_nothing_behind(link: Link, store: SnapshotStore) -> None:
    class HalfLoaded(Tally):
        def load(self, data: bytes) -> None:
            super().load(data)
            if self.sequences:
                raise ValueError("of no use")

    await write(link, 100)
    await saved(link, store)
    tally = HalfLoaded()
    async with await replay(link, STREAM, tally, snapshots=store):
        pass
    assert tally.counts == {"log.a": 100}


async def test_a_snapshot_of_a_wiped_stream_is_left_out(
    link: Link, store: SnapshotStore, caplog: pytest.LogCaptureFixture
) -> None:
    await write(link, 100)
    await saved(link, store)
    await link.request(f"$JS.API.STREAM.DELETE.{STREAM}", b"")
    await make_stream(link)
    await write(link, 150)
    tally, loaded = await rebuilt(link, store)
    assert (loaded, tally.counts) == (0, {"log.a": 150})
    assert "its stream_created is" in caplog.text


async def test_a_snapshot_whose_event_was_replaced_is_left_out(
    link: Link, store: SnapshotStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # As after a power cut with durability "process": the stream goes on from before, with other events.
    await write(link, 100)
    async with await replay(link, STREAM, Tally(), snapshots=store) as done:
        assert done._last is not None
        done._last = done._last._replace(data=b"what was lost")
        await done.save()
    tally, loaded = await rebuilt(link, store)
    assert (loaded, tally.counts) == (0, {"log.a": 100})
    assert "holds other events" in caplog.text


async def test_a_snapshot_ahead_of_its_stream_is_left_out(
    link: Link, store: SnapshotStore, caplog: pytest.LogCaptureFixture
) -> None:
    await write(link, 100)
    async with await replay(link, STREAM, Tally(), snapshots=store) as done:
        done._sequence = 5000
        await done.save()
    tally, loaded = await rebuilt(link, store)
    assert (loaded, tally.counts) == (0, {"log.a": 100})
    assert "which ends at 100" in caplog.text


async def test_expired_events_live_on_in_the_snapshot(link: Link, store: SnapshotStore) -> None:
    await write(link, 100)
    await saved(link, store)
    await link.request(f"$JS.API.STREAM.PURGE.{STREAM}", b"")
    await write(link, 10)
    assert (await rebuilt(link, store))[0].counts == {"log.a": 110}
    assert (await rebuilt(link))[0].counts == {"log.a": 10}


async def test_old_snapshots_are_removed(link: Link, store: SnapshotStore, tmp_path: Path) -> None:
    for _ in range(4):
        await write(link, 10)
        await saved(link, store)
    assert [path.name.split(".")[-2] for path in the_files(tmp_path)] == [f"{30:020d}", f"{40:020d}"]


async def test_a_full_disk_is_a_warning(link: Link, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "snapshots").write_text("a file where the folder should be")
    await write(link, 10)
    await saved(link, SnapshotStore(tmp_path / "snapshots"))
    assert "no snapshot of tally could be written" in caplog.text


async def reached(running: Replay, sequence: int, is_saved: Callable[[], object] = lambda: True) -> None:
    following = asyncio.create_task(running.follow())
    await until(lambda: running.sequence >= sequence and bool(is_saved()))
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_following_goes_on_where_the_replay_ended(link: Link, store: SnapshotStore, tmp_path: Path) -> None:
    await write(link, 100)
    live = Tally()
    async with await replay(link, STREAM, live, snapshots=store, save_every=150) as running:
        await write(link, 100)
        await reached(running, 200, lambda: the_files(tmp_path))
        # A cancelled follow is taken up again.
        await write(link, 100)
        await reached(running, 300)
    assert live.dump() == (await rebuilt(link))[0].dump()
    # Behind the batch that made it worth it, wherever that ended.
    assert 150 <= (await rebuilt(link, store))[1] <= 200


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_following_survives_the_broker_without_gap_or_repeat(
    nats_server: NatsServer, link: Link, how: str
) -> None:
    await write(link, 100)
    live = Tally()
    async with await replay(link, STREAM, live) as running:
        following = asyncio.create_task(running.follow())
        await write(link, 50)
        {"kill": nats_server.kill, "stop": nats_server.stop}[how]()
        nats_server.start()
        await back(link, 0)
        await write(link, 50)
        await until(lambda: running.sequence == 200)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    assert live.sequences == list(range(1, 201))


async def test_a_reconnect_alone_loses_nothing(nats_server: NatsServer, link: Link) -> None:
    writer = await Link.connect(LinkOptions(servers=(nats_server.url,), name="w", inbox_prefix="_INBOX.w"))
    live = Tally()
    async with await replay(link, STREAM, live) as running:
        following = asyncio.create_task(running.follow())
        for _ in range(5):
            writing = asyncio.create_task(write(writer, 400))
            await link.client.force_reconnect()
            await writing
        await until(lambda: running.sequence == 2000)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    await writer.close()
    assert live.sequences == list(range(1, 2001))


async def test_a_reader_from_now_misses_nothing_while_the_broker_is_away(nats_server: NatsServer, link: Link) -> None:
    await write(link, 10)
    async with OrderedReader(link, STREAM, start=FROM_NOW) as reader:
        nats_server.restart()
        await back(link, 0)
        await write(link, 5)
        taken = []
        while len(taken) < 5:
            taken += await reader.take(wait_s=10)
    assert [event.sequence for event in taken] == [11, 12, 13, 14, 15]


async def test_a_reader_since_a_time_begins_there(link: Link) -> None:
    await write(link, 10)
    begun = (await stream_facts(link, STREAM)).last_at
    assert begun is not None
    await asyncio.sleep(0.01)
    await write(link, 5)
    async with OrderedReader(link, STREAM, start=Start(after_sequence=None, since=begun)) as reader:
        first = (await reader.take(wait_s=10))[0]
    assert 10 <= first.sequence <= 11


async def test_a_slow_reader_holds_back_the_broker(nats_server: NatsServer, link: Link) -> None:
    payload = b"x" * 10_000
    for _ in range(60):
        await asyncio.gather(*(link.append("log.a", payload) for _ in range(100)))
    async with OrderedReader(link, STREAM) as reader:
        held, before = 0, -1
        while held > before:
            # As long as the broker sends more.
            await asyncio.sleep(0.25)
            held, before = len(reader._buffer), held
        total = 0
        while total < 6000:
            total += len(await reader.take(wait_s=10))
    assert held < 6000
    assert total == 6000
