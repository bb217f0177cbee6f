"""Bytes that were once written still decode to what they meant then."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgpack
import pytest
from msgspec import inspect as mi

from streams.codec import (
    JSON_CONTENT_TYPE,
    decode,
    decode_access_event,
    decode_batch_event,
    decode_billing_event,
    decode_dead_event,
    decode_device_event,
    decode_end_event,
    decode_file_event,
    decode_group_event,
    decode_model_event,
    decode_store_event,
    decode_task_event,
    encode,
)
from streams.events import CATALOGUE, Event, TaskSubmitted
from tests.unit.golden_events import (
    ACCESS,
    BATCHES,
    BILLING,
    DEAD,
    ENDED,
    FILES,
    FOLDER,
    GOLDEN,
    GROUPS,
    HITS,
    KEYS,
    NONCES,
    RESULTS,
    REWARDS,
    STORES,
    SUBMITTED,
    UNREADABLE,
    golden_file,
    write_golden,
)

JSON_FILE = "task.submitted.v1.json"
"""TASKS keeps what users sent, and they may send JSON: so that is for ever too."""


READ_BY_UNION: list[tuple[Mapping[str, Event], Callable[[bytes], Event]]] = [
    (RESULTS, decode_task_event),
    (ENDED, decode_end_event),
    (DEAD, decode_dead_event),
    (GROUPS, decode_group_event),
    (FILES, decode_file_event),
    (BATCHES, decode_batch_event),
    (STORES, decode_store_event),
    (ACCESS, decode_access_event),
    (BILLING, decode_billing_event),
    (REWARDS, decode_billing_event),
]


def stored(name: str) -> bytes:
    return golden_file(name).read_bytes()


def decode_as_its_stream_does(name: str) -> Event:
    if name in SUBMITTED:
        return decode(stored(name), type(SUBMITTED[name]))
    for entries, read in READ_BY_UNION:
        if name in entries:
            return read(stored(name))
    if name in (others := KEYS | UNREADABLE | NONCES | HITS):
        return decode(stored(name), type(others[name]))
    return decode_model_event(stored(name)) if name.startswith("model.") else decode_device_event(stored(name))


def described(kind: mi.Type, path: str = "") -> Iterator[str]:
    """Every field and every word of a closed list that a type may write, with the way to it."""
    match kind:
        case mi.StructType():
            for field in kind.fields:
                yield f"{path}.{field.name}"
                left_out = (
                    {f"{path}.{field.name}={field.default}"} if kind.cls.__struct_config__.omit_defaults else set()
                )
                yield from (way for way in described(field.type, f"{path}.{field.name}") if way not in left_out)
        case mi.UnionType():
            for option in kind.types:
                yield from described(option, path)
        case mi.VarTupleType():
            yield from described(kind.item_type, path)
        case mi.LiteralType():
            yield from (f"{path}={word}" for word in kind.values)
        case _:
            return


def said(body: Any, path: str = "") -> Iterator[str]:
    """The same ways, as far as a body uses them."""
    match body:
        case dict():
            for name, value in body.items():
                yield f"{path}.{name}"
                yield from said(value, f"{path}.{name}")
        case list():
            for item in body:
                yield from said(item, path)
        case _:
            yield f"{path}={body}"


def test_the_folder_holds_these_files_and_nothing_else() -> None:
    expected = {golden_file(name).name for name in GOLDEN} | {JSON_FILE}
    assert {path.name for path in FOLDER.iterdir() if path.is_file()} == expected


@pytest.mark.parametrize("name", GOLDEN)
def test_old_bytes_decode_to_what_they_meant(name: str) -> None:
    assert decode_as_its_stream_does(name) == GOLDEN[name]


def test_an_old_submission_in_json_decodes_to_what_it_meant() -> None:
    body = (FOLDER / JSON_FILE).read_bytes()
    assert decode(body, TaskSubmitted, content_type=JSON_CONTENT_TYPE) == SUBMITTED["task.submitted.v1"]


@pytest.mark.parametrize("name", GOLDEN)
def test_old_bytes_are_read_alike_by_an_independent_library_and_written_alike_today(name: str) -> None:
    body = msgpack.unpackb(stored(name))
    assert name.startswith(body["type"])
    assert msgpack.unpackb(encode(decode_as_its_stream_does(name))) == body


@pytest.mark.parametrize("kind", CATALOGUE)
def test_golden_files_use_every_field_and_every_word_of_an_event(kind: type[Event]) -> None:
    bodies = [msgpack.unpackb(stored(name)) for name, event in GOLDEN.items() if type(event) is kind]
    used = {way for body in bodies for way in said(body)}
    assert set(described(mi.type_info(kind))) - used == set()


@pytest.mark.parametrize("kind", CATALOGUE)
def test_one_golden_file_of_an_event_leaves_out_all_that_may_be_left_out(kind: type[Event]) -> None:
    info = mi.type_info(kind)
    assert isinstance(info, mi.StructType)
    required = {"type", *(field.name for field in info.fields if field.required)}
    bodies = [msgpack.unpackb(stored(name)) for name, event in GOLDEN.items() if type(event) is kind]
    assert required in [set(body) for body in bodies]


def test_a_golden_file_is_never_written_twice(tmp_path: Path) -> None:
    name = "task.accepted.v1"
    write_golden(name, tmp_path)
    golden_file(name, tmp_path).write_bytes(b"what was written then")
    with pytest.raises(FileExistsError):
        write_golden(name, tmp_path)
    assert golden_file(name, tmp_path).read_bytes() == b"what was written then"
