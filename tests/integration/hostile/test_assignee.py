"""A node that holds a task may write there what it likes: nobody believes more of it than an honest chunk."""

import asyncio

import pytest

from mesh.bus.headers import header_block
from streams import subjects
from streams.codec import encode
from streams.events import TaskAssigned, TaskEnded
from streams.subjects import MESH
from tests.integration.hostile.rogue import HONEST, Assignment, Onlooker, Rogue, landed
from tests.mesh_in_process import InProcessMesh

pytestmark = pytest.mark.asyncio(loop_scope="module")

FORGED_END = encode(TaskEnded(n=3, at_ms=0, outcome="failed"))


async def given(mesh: InProcessMesh, rogue: Rogue) -> tuple[Onlooker, Assignment]:
    """A task that the rogue was given, with the first half of the answer written."""
    key = mesh.key()
    onlooker = Onlooker(mesh, key)
    await mesh.submit(key, model="rogue")
    attempt = await rogue.take(key)
    assert attempt.order.next_n == 2
    await attempt.write("one ", n=2, offset=0)
    return onlooker, attempt


async def finish(attempt: Assignment) -> None:
    await attempt.write("two", n=3, offset=4, last=True)
    attempt.finished()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Nats-TTL", "1s"),
        ("Nats-TTL", "never"),
        ("Nats-Schedule", "@at 2000-01-01T00:00:00Z"),
        ("Nats-Schedule", "@every 1s"),
        ("Nats-Rollup", "sub"),
        ("Nats-Rollup", "all"),
        ("Nats-Incr", "+1"),
        ("Nats-Batch-Id", "b"),
        ("Nats-Stream-Source", "TASKS 1"),
        ("Nats-Expected-Stream", "TASKS"),
        ("Nats-Expected-Last-Sequence", "0"),
        ("Nats-Expected-Last-Msg-Id", "x"),
        ("Nats-Expected-Last-Subject-Sequence", "1000000"),
    ],
)
async def test_a_header_that_would_change_the_stream_is_refused_by_the_broker(
    mesh: InProcessMesh, rogue: Rogue, name: str, value: str
):
    onlooker, attempt = await given(mesh, rogue)
    stored = await mesh.bus.log.read_bytes(onlooker.key)
    block = header_block(
        (name, value), ("Nats-Batch-Sequence", "1"), ("Nats-Schedule-Target", subjects.result(onlooker.key, MESH))
    )
    answer = await attempt.put(attempt.chunk("forged", n=3, offset=4), block)

    assert "error" in answer
    assert await mesh.bus.log.read_bytes(onlooker.key) == stored
    await finish(attempt)
    assert await onlooker.believes() == f"completed: {HONEST}"


@pytest.mark.parametrize(
    "block",
    [
        header_block(("Nats-Msg-Id", "somebody-elses")),
        header_block(("Nats-Schedule-Target", "tasks.standard.0.victim.x.submitted")),
        header_block(("Nats-Batch-Commit", "1")),
        header_block(("Nats-Marker-Reason", "MaxAge")),
        header_block(("Nats-Sequence", "1")),
        header_block(("Nats-Sequence", "999999999")),
        header_block(("Nats-Sequence", "none")),
        header_block(("Nats-Subject", "nonsense")),
        header_block(("Nats-Time-Stamp", "never")),
        b"NATS/1.0 204 EOB\r\n\r\n",
        b"NATS/1.0 204 EOB\r\nNats-Num-Pending: 0\r\n\r\n",
        b"NATS/1.0 404 Message Not Found\r\nX: y\r\n\r\n",
        b"NATS/1.0 503\r\n\r\n",
        b"no headers at all",
        b"NATS/1.0\r\nNats-Sequence: 7",
    ],
)
async def test_headers_that_the_broker_would_write_are_not_believed_of_a_publisher(
    mesh: InProcessMesh, rogue: Rogue, block: bytes
):
    onlooker, attempt = await given(mesh, rogue)
    assert "error" not in await attempt.put(attempt.chunk("two", n=3, offset=4, last=True), block)
    assert "error" not in await attempt.put(b"noise behind it", block)
    attempt.finished()
    assert await onlooker.believes() == f"completed: {HONEST}"


async def test_a_chunk_that_names_the_services_subject_is_no_marker(mesh: InProcessMesh, rogue: Rogue):
    # The broker adds the true subject behind the forged one; the last chunk is plain, so that this subject is read.
    onlooker, attempt = await given(mesh, rogue)
    forged = header_block(("Nats-Subject", subjects.result(onlooker.key, MESH)))
    assert "error" not in await attempt.put(FORGED_END, forged)
    await finish(attempt)
    assert await onlooker.believes() == f"completed: {HONEST}"


@pytest.mark.parametrize(
    "event",
    [
        FORGED_END,
        encode(TaskAssigned(n=3, at_ms=0, attempt=2, node="rogue", policy="mine")),
        b"\xc1 no event",
        b"",
        b"{}",
        b"\x81\xa4type\xadtask.chunk.v9",
        b"\x82\xa4type\xadtask.chunk.v9\xa1n\xcd\x27\x0f",
        b"\x82\xa4type\xa7unknown\xa1n\x01",
    ],
)
async def test_markers_and_noise_of_a_node_count_for_nobody(mesh: InProcessMesh, rogue: Rogue, event: bytes):
    onlooker, attempt = await given(mesh, rogue)
    assert "error" not in await attempt.put(event)
    await finish(attempt)
    assert await onlooker.believes() == f"completed: {HONEST}"


@pytest.mark.parametrize(
    ("n", "offset", "number"),
    [(2, 0, 1), (1, 0, 1), (3, 0, 1), (3, 5, 1), (4, 4, 1), (2**62, 4, 1), (3, 4, 2), (3, 4, 2**40), (3, 2**62, 1)],
)
async def test_a_chunk_with_a_wrong_counter_attempt_or_offset_counts_for_nobody(
    mesh: InProcessMesh, rogue: Rogue, n: int, offset: int, number: int
):
    onlooker, attempt = await given(mesh, rogue)
    assert "error" not in await attempt.put(attempt.chunk("forged", n=n, offset=offset, attempt=number))
    await finish(attempt)
    assert await onlooker.believes() == f"completed: {HONEST}"


async def test_chunks_twice_and_in_the_wrong_order_count_once(mesh: InProcessMesh, rogue: Rogue):
    onlooker, attempt = await given(mesh, rogue)
    middle = attempt.good_chunk("and ", n=3, offset=4)
    last = attempt.good_chunk("two", n=4, offset=8, last=True)
    for body in (last, middle, middle, last, last, middle):
        assert "error" not in await attempt.put(body)
    attempt.finished()
    assert await onlooker.believes() == "completed: one and two"


async def test_a_huge_chunk_is_the_answer_it_claims_to_be_or_is_refused(mesh: InProcessMesh, rogue: Rogue):
    onlooker, attempt = await given(mesh, rogue)
    huge = "x" * 900_000
    await attempt.write(huge, n=3, offset=4)
    await attempt.write("two", n=4, offset=4 + len(huge), last=True)
    attempt.finished()
    assert await onlooker.believes() == f"completed: one {huge}two"


@pytest.mark.parametrize("fence", ["none", "narrow"])
async def test_a_late_chunk_of_a_zombie_without_the_right_fence_counts_for_nobody(mesh: InProcessMesh, fence: str):
    async with Rogue(mesh, f"zombie-{fence}", f"shared-{fence}") as zombie:
        key = mesh.key()
        onlooker = Onlooker(mesh, key)
        await mesh.submit(key, model=f"shared-{fence}")
        old = await zombie.take(key)
        await old.write("one ", n=2, offset=0)
        async with Rogue(mesh, f"heir-{fence}", f"shared-{fence}") as heir:
            old.refuse()
            new = await heir.take(key)
            block = b""
            if fence == "narrow":
                # Its own subject only: there nothing has moved since its chunk.
                own = next(one for one in await mesh.bus.log.read_bytes(key) if one.writer == zombie.node)
                block = header_block(
                    ("Nats-Expected-Last-Subject-Sequence", str(own.sequence)),
                    ("Nats-Expected-Last-Subject-Sequence-Subject", old.subject),
                )
            for number in (1, 2, 3):
                late = old.chunk("late", n=new.order.next_n, offset=4, attempt=number, last=True)
                answer = await old.put(late, block if number == 1 else b"")
                assert "error" not in answer
            old.finished()
            await new.write("two", n=new.order.next_n, offset=4, last=True)
            new.finished()
            assert await onlooker.believes() == f"completed: {HONEST}"


@pytest.mark.parametrize("where", ["mesh", "bad!name", "*", ">", "x" * 200, "rogue", "other-node"])
async def test_an_acknowledgement_led_onto_the_tasks_own_subjects_stops_nobody(
    mesh: InProcessMesh, rogue: Rogue, where: str
):
    onlooker, attempt = await given(mesh, rogue)
    reply = f"{subjects.results_of(onlooker.key)[:-1]}{where}"
    rogue.link.send(attempt.subject, b"noise", reply=reply)
    await landed(mesh, onlooker.key, count=3)
    await finish(attempt)
    assert await onlooker.believes() == f"completed: {HONEST}"


async def test_more_writers_than_the_broker_will_list_stop_nobody(mesh: InProcessMesh, rogue: Rogue):
    onlooker, attempt = await given(mesh, rogue)
    prefix = subjects.results_of(onlooker.key)[:-1]
    for number in range(1100):
        rogue.link.send(attempt.subject, b"noise", reply=f"{prefix}writer{number}")
        if number % 100 == 0:
            await asyncio.sleep(0)
    await landed(mesh, onlooker.key, count=2200)
    await finish(attempt)
    assert await onlooker.believes() == f"completed: {HONEST}"
