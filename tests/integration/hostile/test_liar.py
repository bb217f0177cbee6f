"""A node that holds a task and lies about its answer: the reader gets an honest one, and the liar is shut out."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from gateway.dispatcher.ending import stored_end
from mesh.identity.device_log import DeviceLog
from streams.codec import decode, encode
from streams.devices.fold import Standing
from streams.events import TaskChunk, TaskCompleted
from streams.tasks.chat import Usage
from tests.integration.hostile.rogue import FAST, Assignment, Onlooker, Rogue
from tests.mesh_in_process import InProcessMesh
from tests.processes import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

Lie = Callable[[Assignment, TaskChunk], TaskChunk]
"""Turns the honest last chunk into another one."""


def unsigned(_: Assignment, chunk: TaskChunk) -> TaskChunk:
    return replace(chunk, signature=None)


def with_anothers_key(attempt: Assignment, chunk: TaskChunk) -> TaskChunk:
    return attempt.signed(chunk, by="honest")


def with_other_text_than_signed(_: Assignment, chunk: TaskChunk) -> TaskChunk:
    return replace(chunk, text="TWO")


def with_other_usage_than_signed(_: Assignment, chunk: TaskChunk) -> TaskChunk:
    return replace(chunk, usage=Usage(prompt_tokens=2, completion_tokens=2))


def with_a_garbled_signature(_: Assignment, chunk: TaskChunk) -> TaskChunk:
    assert chunk.signature is not None
    return replace(chunk, signature=replace(chunk.signature, signature_base64="no base64!"))


def with_an_unknown_algorithm(_: Assignment, chunk: TaskChunk) -> TaskChunk:
    assert chunk.signature is not None
    return replace(chunk, signature=replace(chunk.signature, algorithm="none"))


def inflated(usage: Usage) -> Lie:
    return lambda attempt, chunk: attempt.signed(replace(chunk, usage=usage))


def with_inflated_chunks(attempt: Assignment, chunk: TaskChunk) -> TaskChunk:
    tokens = 100_000
    return attempt.signed(replace(chunk, tokens=tokens, usage=Usage(prompt_tokens=1, completion_tokens=tokens + 1)))


def with_slightly_too_many_tokens(attempt: Assignment, chunk: TaskChunk) -> TaskChunk:
    tokens = 100
    return attempt.signed(replace(chunk, tokens=tokens, usage=Usage(prompt_tokens=1, completion_tokens=tokens + 1)))


LIES: dict[str, tuple[Lie, str]] = {
    "wrong key": (with_anothers_key, "the signature is not that of did:key"),
    "altered text": (with_other_text_than_signed, "the signature is not that of did:key"),
    "altered usage": (with_other_usage_than_signed, "the signature is not that of did:key"),
    "garbled": (with_a_garbled_signature, "the signature is not that of did:key"),
    "unknown algorithm": (with_an_unknown_algorithm, "the signature is not that of did:key"),
    "more than its chunks": (inflated(Usage(prompt_tokens=1, completion_tokens=500)), "500 completion tokens"),
    "endless prompt": (inflated(Usage(prompt_tokens=2**53 - 1, completion_tokens=2)), "9007199254740991 prompt tokens"),
    "chunks of air": (with_inflated_chunks, "100001 completion tokens"),
}
FAULTS: dict[str, tuple[Lie, str]] = {
    "unsigned": (unsigned, "has not signed"),
    "a few too many": (with_slightly_too_many_tokens, "101 completion tokens"),
}


async def lied(mesh: InProcessMesh, liar: Rogue, lie: Lie) -> Onlooker:
    """A task that the liar was given before the honest node, and answered as it likes."""
    key = mesh.key()
    onlooker = Onlooker(mesh, key)
    await mesh.submit(key)
    attempt = await liar.take(key)
    await attempt.write("one ", n=attempt.order.next_n, offset=0)
    honest = decode(attempt.chunk("two", n=attempt.order.next_n + 1, offset=4, last=True), TaskChunk)
    assert "error" not in await attempt.put(encode(lie(attempt, honest)))
    attempt.finished()
    return onlooker


async def is_answered_honestly(mesh: InProcessMesh, onlooker: Onlooker, liar: Rogue, truth: str, why: str) -> None:
    """A rogue of an earlier test, which has just left, may have been asked before."""
    assert await onlooker.believes() == f"completed: {truth}"
    end = await stored_end(mesh.bus, onlooker.key)
    assert isinstance(end, TaskCompleted)
    *before, last = end.shares
    assert (last.node, last.chars, last.signed) == ("honest", len(truth), True)
    assert {(share.chars, share.signed) for share in before} == {(0, False)}
    failure = next(failure for failure in end.failures if failure.node == liar.node)
    assert failure.code == "invalid_result"
    assert why in failure.message


@pytest.mark.parametrize("name", LIES)
async def test_a_liar_is_shut_out_with_its_task_as_evidence_and_the_reader_gets_the_truth(
    mesh: InProcessMesh, devices: DeviceLog, truth: str, name: str
):
    lie, why = LIES[name]
    async with Rogue(mesh, f"z-liar-{name.replace(' ', '-')}", "synthetic", tokens_per_s=FAST) as liar:
        onlooker = await lied(mesh, liar, lie)
        await is_answered_honestly(mesh, onlooker, liar, truth, why)
        await devices.catch_up()
        device = devices.devices.device(liar.node)
        assert device is not None
        assert (device.standing, device.by, device.task) == (Standing.SUSPENDED, "dispatcher", onlooker.key.task)
        assert why in device.reason
        await until(lambda: not liar.link.is_connected)


@pytest.mark.parametrize("name", FAULTS)
async def test_what_may_be_a_fault_is_not_believed_and_nobody_is_shut_out(
    mesh: InProcessMesh, devices: DeviceLog, truth: str, name: str
):
    fault, why = FAULTS[name]
    async with Rogue(mesh, f"z-faulty-{name.replace(' ', '-')}", "synthetic", tokens_per_s=FAST) as faulty:
        onlooker = await lied(mesh, faulty, fault)
        await is_answered_honestly(mesh, onlooker, faulty, truth, why)
        await devices.catch_up()
        device = devices.devices.device(faulty.node)
        assert device is not None
        assert device.standing is Standing.ADMITTED
        assert faulty.link.is_connected


async def test_on_the_words_of_a_liar_no_other_task_is_built(mesh: InProcessMesh, truth: str):
    async with Rogue(mesh, "z-liar-of-two", "synthetic", tokens_per_s=FAST) as liar:
        key = mesh.key()
        other = Onlooker(mesh, key)
        await mesh.submit(key)
        unfinished = await liar.take(key)
        await unfinished.write("lies", n=unfinished.order.next_n, offset=0)
        onlooker = await lied(mesh, liar, with_anothers_key)
        assert await onlooker.believes() == f"completed: {truth}"
        assert await other.believes() == f"completed: {truth}"
