"""Answers on their way into the cache and out of it: nothing is lost, and what cannot be believed is nothing."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.cache.answers import Recorder, steps_of
from gateway.cache.key import Slot
from gateway.cache.sealing import Sealer
from mesh.bus.answer import AnswerText, Step
from streams.cache.messages import CacheAnswer, CacheClaim, CacheRecord, CacheVoid
from streams.codec import decode
from streams.events import ChunkSignature, TaskAssigned, TaskChunk, TaskEnded, TaskEvent
from streams.subjects import MESH, TaskKey
from streams.tasks.answer_parts import TokenLogprob, ToolCallPiece
from streams.tasks.chat import Usage
from streams.tasks.task import TaskState, advance
from streams.tokens import Token

KEY = TaskKey(Token("acme"), Token("019b7a3e00007abc8def012345678900"))
USAGE = Usage(prompt_tokens=7, completion_tokens=3, cached_prompt_tokens=2)
SLOT = Slot(Token("acme"), Token("a" * 64))
SEALER = Sealer(lambda: b"s" * 32)
SIGNATURE = ChunkSignature(algorithm="ed25519", signature_base64="AA==")
ROOM = 100_000


def steps(*events: TaskEvent) -> list[Step]:
    """What a reader of these events sees."""
    state, seen = TaskState(), list[Step]()
    for event in events:
        writer = "n1" if isinstance(event, TaskChunk) else MESH
        following = advance(state, writer, event)
        assert isinstance(following, TaskState), following
        state = following
        seen.append(Step(event, writer, state))
    return seen


def written(*texts: str, **last: Any) -> list[TaskEvent]:
    """A task that writes texts, the last of them with what ends it."""
    events: list[TaskEvent] = [TaskAssigned(n=1, at_ms=0, attempt=1, node="n1", policy="p")]
    offset = 0
    for n, text in enumerate(texts, 2):
        events.append(TaskChunk(n=n, attempt=1, offset=offset, text=text, tokens=1))
        offset += len(text)
    end = {"finish_reason": "stop", "usage": USAGE, "signature": SIGNATURE, **last}
    n = len(texts) + 2
    events.append(TaskChunk(n=n, attempt=1, offset=offset, text="", **end))
    return [*events, TaskEnded(n=n + 1, at_ms=0, outcome="completed")]


def recorded(events: list[TaskEvent], *, room: int = ROOM, with_calls: bool = False) -> CacheAnswer | None:
    recorder = Recorder(room)
    for step in steps(*events):
        recorder.take([step])
    return recorder.answer(KEY, at_ms=1, until_ms=2, with_calls=with_calls)


def text_of(seen: list[Step]) -> str:
    text = AnswerText()
    text.take(seen)
    return str(text)


@given(st.lists(st.text(max_size=5000), max_size=30))
@settings(max_examples=30)
def test_an_answer_that_comes_back_is_the_one_that_was_stored(texts: list[str]) -> None:
    events = written(*texts)
    answer = recorded(events, room=10**9)
    assert answer is not None
    again = steps_of(answer)
    assert text_of(again) == "".join(texts)
    live, state = steps(*events)[-1].state, again[-1].state
    assert (state.n, state.chars, state.tokens, state.finish_reason, state.outcome) == (
        *(live.n, live.chars, live.tokens, live.finish_reason),
        "completed",
    )
    assert state.usage == replace(USAGE, cached_prompt_tokens=USAGE.prompt_tokens)


def test_plain_pieces_become_one_under_the_counter_of_the_last() -> None:
    answer = recorded(written("one ", "two ", "three"))
    assert answer is not None
    assert [(chunk.n, chunk.text, chunk.tokens) for chunk in answer.chunks] == [(4, "one two three", 3), (5, "", 0)]
    assert answer.chunks[-1].signature is None


def test_what_is_more_than_text_is_kept_as_it_is() -> None:
    events = written("one ", "two")
    likely = replace(events[2], logprobs=(TokenLogprob(token="two", logprob=-0.5),))
    answer = recorded([*events[:2], likely, *events[3:]])
    assert answer is not None
    assert [chunk.text for chunk in answer.chunks] == ["one ", "two", ""]
    assert answer.chunks[1] == likely


def test_text_that_is_void_is_not_kept() -> None:
    again = TaskAssigned(n=3, at_ms=0, attempt=2, node="n1", policy="p", model="other", seam="restarted")
    events = [
        *written("void")[:2],
        again,
        TaskChunk(n=4, attempt=2, offset=0, text="whole", finish_reason="stop", usage=USAGE),
        TaskEnded(n=5, at_ms=0, outcome="completed"),
    ]
    answer = recorded(events)
    assert answer is not None
    assert [chunk.text for chunk in answer.chunks] == ["whole"]
    assert steps_of(answer)[-1].state.model == "other"


def test_what_is_too_long_is_not_kept() -> None:
    assert recorded(written("x" * 500, "y" * 500), room=1000) is None
    assert recorded(written("x" * 500, "y" * 100), room=1000) is not None


@pytest.mark.parametrize("outcome", ["failed", "cancelled", "dead"])
def test_what_is_not_whole_is_not_kept(outcome: Any) -> None:
    events = written("one")
    assert recorded([*events[:-1], TaskEnded(n=4, at_ms=0, outcome=outcome)]) is None
    assert recorded(events[:-1]) is None


def test_calls_of_functions_are_kept_only_for_who_asks_for_it() -> None:
    call = ToolCallPiece(index=0, id="c", name="f", arguments="{}")
    events = written("", finish_reason="tool_calls", tool_calls=(call,))
    assert recorded(events) is None
    answer = recorded(events, with_calls=True)
    assert answer is not None
    assert answer.chunks[-1].tool_calls == (call,)


# --- what a store gives back -------------------------------------------------------------------------------------

CLAIM = CacheClaim(task=KEY.task, until_ms=2, deadline_at_ms=1, service_class="batch", may_cancel=True)


def test_a_record_is_read_where_it_was_put_and_as_the_catalogue_has_it() -> None:
    answer = recorded(written("one"))
    assert answer is not None
    for body in (CLAIM, answer, CacheVoid()):
        data = SEALER.seal(SLOT, body)
        assert SEALER.open(SLOT, data) == body
        assert decode(data, CacheRecord).body == body


@pytest.mark.parametrize(
    ("sealer", "slot"),
    [
        (SEALER, Slot(Token("other"), SLOT.digest)),
        (SEALER, Slot(SLOT.owner, Token("b" * 64))),
        (Sealer(lambda: b"t" * 32), SLOT),
    ],
    ids=["another account", "another request", "another mesh"],
)
def test_a_record_of_elsewhere_is_nothing(sealer: Sealer, slot: Slot) -> None:
    assert sealer.open(slot, SEALER.seal(SLOT, CLAIM)) is None


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_nothing(data: bytes) -> None:
    assert SEALER.open(SLOT, data) is None


@given(st.data())
def test_a_record_with_any_byte_changed_says_nothing_else(data: st.DataObject) -> None:
    whole = SEALER.seal(SLOT, CLAIM)
    place = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[place]))
    # The tag of the record itself is not under the seal, and no other record stands there.
    assert SEALER.open(SLOT, whole[:place] + bytes([other]) + whole[place + 1 :]) in (None, CLAIM)
