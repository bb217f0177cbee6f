"""Texts that become vectors, as tasks: placed, written in signed chunks, continued elsewhere, checked, refused."""

import asyncio
import math
import struct
from datetime import timedelta
from typing import Any

import pytest

from mesh.bus.answer import AnswerText, Step, follow
from mesh.client.client import open_client
from mesh.client.options import ClientOptions
from mesh.errors import TaskFailedError
from nodes.attempts.vector_work import TEXTS_AT_ONCE
from streams import subjects
from streams.codec import encode
from streams.events import TaskAssigned, TaskRequeued, TaskSubmitted
from streams.subjects import TaskKey
from streams.tokens import token
from tests.mesh_in_process import LIMIT_S, InProcessMesh
from tests.number_engine import DIMENSIONS, LONGEST, MODEL, NumberEngine, vector_of

TEXTS = tuple(f"passage number {number}" for number in range(100))


async def asked(mesh: InProcessMesh, texts: tuple[str, ...] = TEXTS, **more: Any) -> TaskKey:
    key = mesh.key()
    submitted = TaskSubmitted(model=more.pop("model", MODEL), texts=texts, **more)
    await mesh.bus.edge.append(subjects.submitted("standard", key), encode(submitted))
    return key


def vectors_in(steps: list[Step]) -> tuple[bytes, ...]:
    text = AnswerText()
    text.take(steps)
    return text.vectors


async def test_texts_become_vectors_in_their_order_in_signed_chunks(mesh: InProcessMesh) -> None:
    await mesh.add_dispatcher()
    engine = NumberEngine()
    await mesh.add_node(engine=engine)
    steps = await mesh.steps(await asked(mesh))
    assert vectors_in(steps) == tuple(map(vector_of, TEXTS))
    state = steps[-1].state
    assert (state.outcome, state.finish_reason, state.chars) == ("completed", "stop", len(TEXTS))
    assert state.usage is not None
    assert state.usage.prompt_tokens == state.tokens == sum(map(len, TEXTS))
    assert [share.signed for share in state.shares] == [True]
    assert max(map(len, engine.embedded)) == TEXTS_AT_ONCE


async def test_a_lost_node_s_vectors_go_on_elsewhere_without_gap_or_repeat(mesh: InProcessMesh) -> None:
    await mesh.add_dispatcher()
    first, second = NumberEngine(), NumberEngine()
    first.stop_after = 3
    lost = await mesh.add_node("n1", engine=first)
    key = await asked(mesh)
    await mesh.reached(key, 2)
    await _stored(mesh, key, 3 * TEXTS_AT_ONCE)
    await mesh.add_node("n2", engine=second)
    await lost.vanish()
    steps = await mesh.steps(key)
    assert vectors_in(steps) == tuple(map(vector_of, TEXTS))
    assigned = [step.event for step in steps if isinstance(step.event, TaskAssigned)]
    assert [(event.attempt, event.offset, event.seam) for event in assigned] == [
        (1, 0, None),
        (2, 3 * TEXTS_AT_ONCE, "continued"),
    ]
    assert [text for texts in second.embedded for text in texts] == list(TEXTS[3 * TEXTS_AT_ONCE :])
    assert steps[-1].state.usage is not None
    assert steps[-1].state.usage.prompt_tokens == sum(map(len, TEXTS))


async def test_a_node_that_stops_hands_on_what_is_left(mesh: InProcessMesh) -> None:
    await mesh.add_dispatcher()
    first, second = NumberEngine(), NumberEngine()
    first.stop_after = 3
    leaving = await mesh.add_node("n1", engine=first)
    key = await asked(mesh)
    await _stored(mesh, key, 3 * TEXTS_AT_ONCE)
    await mesh.add_node("n2", engine=second)
    await leaving.worker.drain(timedelta(0))
    steps = await mesh.steps(key)
    assert vectors_in(steps) == tuple(map(vector_of, TEXTS))
    assert [share.signed for share in steps[-1].state.shares] == [True, True]


async def _stored(mesh: InProcessMesh, key: TaskKey, count: int) -> None:
    """Wait until so many vectors are stored."""
    async with asyncio.timeout(LIMIT_S):
        async for steps in follow(mesh.bus.source, key):
            if steps[-1].state.chars >= count:
                return


async def test_vectors_that_are_none_are_not_believed(mesh: InProcessMesh) -> None:
    class Flat(NumberEngine):
        def vectors(self, texts: tuple[str, ...]) -> tuple[bytes, ...]:
            return tuple(struct.pack(f"<{DIMENSIONS}f", *[0.0] * DIMENSIONS) for _ in texts)

    await mesh.add_dispatcher(max_attempts=1)
    await mesh.add_node(engine=Flat())
    steps = await mesh.steps(await asked(mesh, ("a",)))
    requeued = [step.event for step in steps if isinstance(step.event, TaskRequeued)]
    assert [(event.code, event.message) for event in requeued] == [
        ("invalid_result", "vector 0 is no vector of length 1")
    ]
    assert steps[-1].state.outcome == "dead"


async def test_what_a_model_cannot_do_is_refused_at_once(mesh: InProcessMesh) -> None:
    await mesh.add_dispatcher()
    await mesh.add_node("n1", engine=NumberEngine())
    await mesh.add_node("n2")
    await mesh.steps(await asked(mesh))
    await mesh.steps(await mesh.submit())
    for key, code, said in (
        (await asked(mesh, model="synthetic"), "unsupported_model", "it writes answers"),
        (await mesh.submit(model=MODEL), "unsupported_model", "it turns texts into vectors"),
        (await asked(mesh, dimensions=4), "unsupported_value", "no vectors of 4 numbers"),
    ):
        end = (await mesh.steps(key))[-1].state
        assert end.error is not None
        assert (end.outcome, end.error.code, end.error.status) == ("failed", code, 400)
        assert said in end.error.message


async def test_a_text_that_is_too_long_fails_the_task_and_is_named(mesh: InProcessMesh) -> None:
    await mesh.add_dispatcher()
    await mesh.add_node(engine=NumberEngine())
    texts = (*TEXTS[:20], "x" * (LONGEST + 1))
    end = (await mesh.steps(await asked(mesh, texts)))[-1].state
    assert end.error is not None
    assert (end.error.code, end.error.status) == ("context_length_exceeded", 400)
    assert "from number 16 on: text 4" in end.error.message


async def test_fewer_dimensions_are_given_where_the_model_can(mesh: InProcessMesh) -> None:
    await mesh.add_dispatcher()
    await mesh.add_node(engine=NumberEngine(shortens=True))
    steps = await mesh.steps(await asked(mesh, ("a", "b"), dimensions=4))
    assert steps[-1].state.outcome == "completed"
    for text, vector in zip(("a", "b"), vectors_in(steps), strict=True):
        assert struct.unpack("<4f", vector) == pytest.approx(struct.unpack("<4f", _cut(vector_of(text))), abs=1e-6)


def _cut(vector: bytes) -> bytes:
    numbers = struct.unpack("<4f", vector[:16])
    length = math.hypot(*numbers)
    return struct.pack("<4f", *(number / length for number in numbers))


async def test_the_client_embeds(mesh: InProcessMesh) -> None:
    await mesh.add_dispatcher()
    await mesh.add_node(engine=NumberEngine())
    await mesh.add_node("n2")
    options = ClientOptions(
        servers=(mesh.server.url,), account=token("local"), seed_file=mesh.server.credentials.user.seed_path
    )
    async with await open_client(options) as client:
        found = await client.embed(["a", "b"], model=MODEL)
        assert found.vectors == tuple(struct.unpack(f"<{DIMENSIONS}f", vector_of(text)) for text in "ab")
        assert found.usage is not None
        assert (found.usage.prompt_tokens, found.node) == (2, "n1")
        one = await client.embed("a", model=MODEL)
        assert one.vectors == found.vectors[:1]
        with pytest.raises(TaskFailedError, match="it writes answers"):
            await client.embed("a", model="synthetic")
