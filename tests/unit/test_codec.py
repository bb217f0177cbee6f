"""What is written is read back the same, by us and by an independent MessagePack library; all else is refused."""

import json
from base64 import b64encode
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.batches.events import BatchEvent
from streams.codec import (
    JSON_CONTENT_TYPE,
    decode,
    decode_access_event,
    decode_batch_event,
    decode_device_event,
    decode_end_event,
    decode_file_event,
    decode_model_event,
    decode_store_event,
    decode_task_event,
    encode,
    encode_json,
)
from streams.errors import UndecodableEvent
from streams.events import (
    CATALOGUE,
    AccessEvent,
    DeviceEvent,
    EndEvent,
    ModelEvent,
    TaskAccepted,
    TaskChunk,
    TaskEvent,
    TaskSubmitted,
)
from streams.files.events import FileEvent
from streams.messages import ALL_MESSAGES, EventsPage, StoredEvent
from streams.stores.events import StoreEvent
from streams.tasks.chat import Message
from tests.unit.event_strategies import structs

UNIONS = [
    (decode_task_event, TaskEvent),
    (decode_end_event, EndEvent),
    (decode_model_event, ModelEvent),
    (decode_device_event, DeviceEvent),
    (decode_access_event, AccessEvent),
    (decode_file_event, FileEvent),
    (decode_batch_event, BatchEvent),
    (decode_store_event, StoreEvent),
]
SUBMITTED = TaskSubmitted(model="m", messages=(Message(role="user", content="hi"),))


FEW = settings(max_examples=25)
"""For tests that run once for every kind there is."""


def plain(value: Any) -> Any:
    """The maps, lists and scalars that a writer without our types would send, every default spelt out."""
    match value:
        case msgspec.Raw():
            return msgpack.unpackb(bytes(value))
        case msgspec.Struct():
            tag = value.__struct_config__.tag
            fields = {name: plain(held) for name, held in msgspec.structs.asdict(value).items()}
            return ({"type": tag} if tag else {}) | fields
        case tuple():
            return [plain(item) for item in value]
        case _:
            return value


def pack(value: Any) -> bytes:
    packed = msgpack.packb(value)
    assert packed is not None
    return packed


def says(read: Any, value: Any) -> bool:
    """Whether what a reader without our types sees is ``value``, no more and no less; defaults may be left out."""
    match value:
        case msgspec.Struct():
            defaults = {field.name: plain(field.default) for field in msgspec.structs.fields(value)}
            known = read.keys() <= {"type", *defaults} and read.get("type") == value.__struct_config__.tag
            return known and all(
                says(read.get(name, default), getattr(value, name)) for name, default in defaults.items()
            )
        case tuple():
            return len(read) == len(value) and all(map(says, read, value))
        case bytes():
            return read in (value, b64encode(value).decode())
        case _:
            return read == plain(value)


@pytest.mark.parametrize("kind", [*CATALOGUE, *ALL_MESSAGES])
@FEW
@given(data=st.data())
def test_bytes_hold_what_an_independent_library_reads_and_writes(kind: type[Any], data: st.DataObject) -> None:
    value = data.draw(structs(kind))
    written = encode(value)
    if kind is not EventsPage:  # its bodies are MessagePack inside MessagePack: read one by one below
        assert says(msgpack.unpackb(written), value)
        assert decode(pack(plain(value)), kind) == value
    assert decode(written, kind) == value


def test_a_page_carries_events_as_they_were_stored() -> None:
    chunk = TaskChunk(n=1, attempt=1, offset=0, text="é")
    page = EventsPage(task="t", events=(StoredEvent(sequence=7, writer="node", body=msgspec.Raw(encode(chunk))),))
    read = decode(encode(page), EventsPage)
    assert decode_task_event(bytes(read.events[0].body)) == chunk
    assert says(msgpack.unpackb(encode(page))["events"][0]["body"], chunk)


_NO_JSON = {EventsPage}
"""It holds messages as they are stored."""


@pytest.mark.parametrize("kind", [kind for kind in (*CATALOGUE, *ALL_MESSAGES) if kind not in _NO_JSON])
@FEW
@given(data=st.data())
def test_json_bodies_say_the_same(kind: type[Any], data: st.DataObject) -> None:
    value = data.draw(structs(kind))
    assert decode(encode_json(value), kind, content_type=JSON_CONTENT_TYPE) == value
    assert says(json.loads(encode_json(value)), value)


@pytest.mark.parametrize(("read", "union"), UNIONS)
@given(data=st.data())
def test_a_stream_reads_back_all_it_may_hold_and_refuses_the_rest(read: Any, union: Any, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(CATALOGUE))
    value = data.draw(structs(kind))
    if kind in union.__args__:
        assert read(encode(value)) == value
    else:
        with pytest.raises(UndecodableEvent, match="not an event of this stream"):
            read(encode(value))


@pytest.mark.parametrize("kind", CATALOGUE)
@FEW
@given(data=st.data())
def test_fields_of_a_newer_writer_are_passed_over(kind: type[Any], data: st.DataObject) -> None:
    value = data.draw(structs(kind))
    newer = plain(value) | {"a_later_field": {"with": ["anything", 1.5, None]}}
    assert decode(pack(newer), kind) == value


@given(st.binary(max_size=200), st.sampled_from([None, JSON_CONTENT_TYPE]))
def test_arbitrary_bytes_raise_nothing_but_undecodable(body: bytes, content_type: str | None) -> None:
    with pytest.raises(UndecodableEvent):
        decode(body, SUBMITTED.__class__, content_type=content_type)
    for read, _union in UNIONS:
        with pytest.raises(UndecodableEvent):
            read(body)


@given(structs(TaskSubmitted), st.data())
def test_damaged_bytes_decode_to_a_valid_event_or_raise_undecodable(value: TaskSubmitted, data: st.DataObject) -> None:
    damaged = bytearray(encode(value))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = decode(bytes(damaged), TaskSubmitted)
    except UndecodableEvent:
        return
    assert decode(encode(read), TaskSubmitted) == read


@given(structs(TaskSubmitted), st.data())
def test_a_cut_body_is_undecodable(value: TaskSubmitted, data: st.DataObject) -> None:
    body = encode(value)
    with pytest.raises(UndecodableEvent, match="truncated"):
        decode(body[: data.draw(st.integers(0, len(body) - 1))], TaskSubmitted)


@pytest.mark.parametrize(
    "content_type", ["application/json", "APPLICATION/JSON", "application/json; charset=utf-8", " application/json "]
)
def test_content_type_chooses_json(content_type: str) -> None:
    assert decode(encode_json(SUBMITTED), TaskSubmitted, content_type=content_type) == SUBMITTED


@pytest.mark.parametrize("content_type", [None, "", "application/msgpack", "application/jsonx", "text/plain"])
def test_any_other_content_type_means_messagepack(content_type: str | None) -> None:
    assert decode(encode(SUBMITTED), TaskSubmitted, content_type=content_type) == SUBMITTED
    with pytest.raises(UndecodableEvent, match="MessagePack"):
        decode(encode_json(SUBMITTED), TaskSubmitted, content_type=content_type)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"model": ""}, "model"),
        ({"model": "m" * 257}, "model"),
        ({"model": 7}, "model"),
        ({"messages": [{"role": "wizard", "content": "hi"}]}, "role"),
        ({"messages": [{"role": "user"}]}, "content"),
        ({"sampling": {"temperature": 2.1}}, "temperature"),
        ({"sampling": {"temperature": float("nan")}}, "temperature"),
        ({"sampling": {"max_tokens": 0}}, "max_tokens"),
        ({"sampling": {"stop": ["a", "b", "c", "d", "e"]}}, "stop"),
        ({"deadline_at_ms": -1}, "deadline_at_ms"),
        ({"deadline_at_ms": 2**63}, "deadline_at_ms"),
        ({"type": "task.submitted.v2"}, "type"),
    ],
)
def test_a_wrong_field_is_refused_and_named(change: dict[str, Any], field: str) -> None:
    with pytest.raises(UndecodableEvent, match=field):
        decode(pack(plain(SUBMITTED) | change), TaskSubmitted)


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(UndecodableEvent):
        decode(b"\x81\xa1z" + b"\x91" * 200_000, TaskSubmitted)


def test_a_promise_of_four_billion_items_is_refused_before_it_takes_memory() -> None:
    claimed = pack(plain(SUBMITTED) | {"messages": []}).replace(b"\xa8messages\x90", b"\xa8messages\xdd" + b"\xff" * 4)
    with pytest.raises(UndecodableEvent):
        decode(claimed, TaskSubmitted)


def test_negative_usage_is_refused() -> None:
    chunk = {"type": "task.chunk.v1", "n": 1, "attempt": 1, "offset": 0, "text": "", "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": -5}
    with pytest.raises(UndecodableEvent, match="completion_tokens"):
        decode_task_event(pack(chunk | {"usage": usage}))


def test_a_marker_cannot_pass_for_an_end() -> None:
    with pytest.raises(UndecodableEvent, match=r"task\.accepted\.v1"):
        decode_end_event(encode(TaskAccepted(n=1, at_ms=0)))
