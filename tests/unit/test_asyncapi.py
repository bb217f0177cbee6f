"""The AsyncAPI document is whole, true to the bytes on the wire, and the committed copy is up to date."""

import json
from base64 import b64encode
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import jsonschema
import msgpack
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.cli import root
from mesh.commands.docs import ASYNCAPI_FILE
from streams import subjects
from streams.addresses import PARAMETERS
from streams.asyncapi import asyncapi_document, asyncapi_json, message_name
from streams.batches import subjects as batch_subjects
from streams.channel import Channel
from streams.channels import CHANNELS
from streams.codec import encode, encode_json
from streams.events import CATALOGUE
from streams.files import subjects as file_subjects
from streams.groups import subjects as group_subjects
from streams.messages import ALL_MESSAGES
from streams.stores import subjects as store_subjects
from streams.stores.subjects import StoreKey
from streams.subjects import TaskKey
from streams.tasks.task_id import new_task_id
from streams.tokens import Token
from streams.topology import stream_specs
from tests.unit.event_strategies import structs
from tests.unit.golden_events import GOLDEN

COMMITTED = Path(__file__).parents[2] / ASYNCAPI_FILE
DOCUMENT = asyncapi_document()
MESSAGES = DOCUMENT["components"]["messages"]
KINDS = (*CATALOGUE, *ALL_MESSAGES)


def references(body: Any) -> Iterator[str]:
    match body:
        case {"$ref": str(target)}:
            yield target
        case dict():
            for value in body.values():
                yield from references(value)
        case list():
            for item in body:
                yield from references(item)
        case _:
            return


def resolve(target: str) -> Any:
    found: Any = DOCUMENT
    for step in target.removeprefix("#/").split("/"):
        found = found[step]
    return found


def payload_validator(kind: type[Any]) -> jsonschema.Draft7Validator:
    schema = {"$ref": f"#/components/schemas/{kind.__name__}", "components": DOCUMENT["components"]}
    return jsonschema.Draft7Validator(schema)


def test_the_committed_document_is_what_the_code_says() -> None:
    outcome = CliRunner().invoke(root, ["docs", "asyncapi", "--check", "--output", str(COMMITTED)])
    assert (outcome.exit_code, outcome.output) == (0, "")


def test_the_document_is_written_to_standard_output_or_a_file(tmp_path: Path) -> None:
    written = tmp_path / "asyncapi.json"
    assert CliRunner().invoke(root, ["docs", "asyncapi", "--output", str(written)]).exit_code == 0
    assert written.read_bytes() == asyncapi_json() == CliRunner().invoke(root, ["docs", "asyncapi"]).stdout_bytes


@pytest.mark.parametrize("content", [None, b"{}\n"], ids=["missing", "other"])
def test_a_check_of_another_document_fails_and_says_what_to_do(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "asyncapi.json"
    if content is not None:
        path.write_bytes(content)
    outcome = CliRunner().invoke(root, ["docs", "asyncapi", "--check", "--output", str(path)])
    assert outcome.exit_code == 1
    assert str(path) in outcome.output
    assert path.exists() == (content is not None)


def test_every_reference_leads_somewhere() -> None:
    targets = set(references(DOCUMENT))
    assert len(targets) > len(KINDS)
    for target in targets:
        resolve(target)


def test_every_event_and_message_travels_on_some_channel() -> None:
    travelling = {kind for channel in CHANNELS for kind in channel.kinds}
    assert travelling == set(KINDS)
    assert {name.removesuffix(".json") for name in MESSAGES} == {message_name(kind) for kind in KINDS}


def test_what_an_operation_moves_is_on_its_channel() -> None:
    for operation in DOCUMENT["operations"].values():
        for part in (operation, operation.get("reply", operation)):
            held = {
                f"{part['channel']['$ref']}/messages/{name}" for name in resolve(part["channel"]["$ref"])["messages"]
            }
            assert {message["$ref"] for message in part["messages"]} <= held


def test_every_channel_is_used_from_both_ends() -> None:
    used = {(body["action"], body["channel"]["$ref"]) for body in DOCUMENT["operations"].values()}
    ends = {(action, f"#/channels/{name}") for name in DOCUMENT["channels"] for action in ("send", "receive")}
    assert used == ends


def test_every_variable_of_an_address_is_explained() -> None:
    assert all(variables(channel) == set(documented(channel)) for channel in CHANNELS)
    assert set(PARAMETERS) == {name for channel in CHANNELS for name in variables(channel)}


def variables(channel: Channel) -> set[str]:
    return {part[1:-1] for part in channel.address.split(".") if part.startswith("{")}


def documented(channel: Channel) -> dict[str, Any]:
    return DOCUMENT["channels"][channel.name].get("parameters", {})


def test_every_stream_has_a_channel_of_its_subjects_and_account() -> None:
    for spec in stream_specs():
        storing = [channel for channel in CHANNELS if channel.stream and fnmatchcase(spec.name, channel.stream)]
        roots = sorted(channel.address.partition(".")[0] for channel in storing)
        assert roots == sorted({pattern.partition(".")[0] for pattern in spec.subjects})
        for channel in storing:
            assert channel.account == spec.account
            assert {pattern.count(".") for pattern in spec.subjects} == {channel.address.count(".")}


def test_addresses_are_those_of_the_builders() -> None:
    addresses = {channel.name: channel.address for channel in CHANNELS}
    key, node = TaskKey(Token("acme"), new_task_id()), Token("node-a")
    said = {"class": "batch", "bucket": key.task[-1], "task": key.task, "node": node, "writer": node, "kind": "lost"}
    said |= {"account": key.account, "model": "m", "group": "g1", "file": "f1", "batch": "b1", "number": "00000007"}
    store = StoreKey(key.account, Token("vs1"))
    said |= {"store": "vs1", "generation": f"{70_000:016d}", "part": "000003"}
    built = {
        "submitted": subjects.submitted("batch", key),
        "results": subjects.result(key, node),
        "live": subjects.live_of(key).replace("*", node),
        "ended": subjects.ended(key),
        "settled": subjects.settled(key),
        "models": subjects.model(node, "m"),
        "devices": subjects.device(node, "lost"),
        "groups": group_subjects.group(Token("g1")),
        "files": file_subjects.file(key.account, Token("f1")),
        "file_parts": file_subjects.file_part(key.account, Token("f1"), 7),
        "batches": batch_subjects.batch(key.account, Token("b1")),
        "vector_stores": store_subjects.store(store),
        "passages": store_subjects.passages(store, Token("f1"), 70_000, 3),
        "assign": subjects.node_inbox(node, "assign"),
        "group_orders": subjects.node_inbox(node, "group"),
        "group": subjects.node_api(node, "group"),
        "status": subjects.status(node),
        "ask": subjects.node_api(node, "ask"),
        "cancel": subjects.user_api(key.account, "cancel"),
    }
    assert {name: addresses[name].format(**said) for name in built} == built


def test_only_submissions_and_requests_of_users_may_be_json() -> None:
    twins = {name.removesuffix(".json") for name in MESSAGES if name.endswith(".json")}
    asked = {"task.submitted.v1", "user.events.v1", "user.cancel.v1", "user.store.v1"}
    answered = {"user.events_page.v1", "user.cancel_outcome.v1", "broker.store.v1", "refusal.v1"}
    assert twins == asked | answered
    for name in twins:
        assert MESSAGES[f"{name}.json"]["contentType"] == "application/json"
        assert MESSAGES[name]["contentType"] == "application/msgpack"


def test_the_schemas_are_schemas() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft7Validator.check_schema(schema)
        assert schema["description"]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10)
@given(data=st.data())
def test_what_we_write_is_what_the_schema_promises(kind: type[Any], data: st.DataObject) -> None:
    value = data.draw(structs(kind))
    payload_validator(kind).validate(as_json(msgpack.unpackb(encode(value))))


def as_json(body: Any) -> Any:
    """JSON Schema knows no bytes: there they are base64, as they are in a JSON body."""
    match body:
        case bytes():
            return b64encode(body).decode()
        case dict():
            return {name: as_json(item) for name, item in body.items()}
        case list():
            return [as_json(item) for item in body]
        case _:
            return body


@pytest.mark.parametrize("name", GOLDEN)
def test_what_was_once_written_is_what_the_schema_promises(name: str) -> None:
    body = as_json(msgpack.unpackb(encode(GOLDEN[name])))
    payload_validator(type(GOLDEN[name])).validate(body)
    for spoiled in ({**body, "type": "other.v1"}, {name: value for name, value in body.items() if name != "type"}):
        with pytest.raises(jsonschema.ValidationError):
            payload_validator(type(GOLDEN[name])).validate(spoiled)


def test_json_bodies_follow_the_same_schema() -> None:
    for event in GOLDEN.values():
        payload_validator(type(event)).validate(json.loads(encode_json(event)))
