"""The AsyncAPI 3 document of the mesh, made from the catalogue and the channels alone.

Times and limits that are configuration are not in it; what is in it holds for every mesh.
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any, Final, get_args

import msgspec

from streams.addresses import PARAMETERS
from streams.channels import CHANNELS
from streams.codec import JSON_CONTENT_TYPE
from streams.events import CATALOGUE
from streams.messages import ALL_MESSAGES
from streams.subjects import SERVICE_CLASSES, DeviceKind
from streams.tasks.task_id import BUCKETS

if TYPE_CHECKING:
    from streams.channel import Channel, Reply

Json = dict[str, Any]

MSGPACK_CONTENT_TYPE: Final = "application/msgpack"

_DOCUMENT_VERSION: Final = "1.0.0"
"""Of this document; every event carries its own."""

_JSON: Final = ".json"
_VARIABLE: Final = re.compile(r"{([a-z]+)}")
_CLOSED: Final[dict[str, list[str]]] = {
    "class": list(SERVICE_CLASSES),
    "bucket": list(BUCKETS),
    "kind": list(get_args(DeviceKind)),
}

_ABOUT: Final = """All that travels on the bus of an iG3 mesh: events on durable streams, and messages on core NATS.

Bodies are MessagePack. Where a message has a `.json` twin, a client may send JSON instead, with the header
`Content-Type: application/json`. Fields may be added with a default: ignore those you do not know."""

_SERVERS: Final[Json] = {
    "edge": {
        "host": "127.0.0.1:4222",
        "protocol": "nats",
        "description": "The EDGE account of a mesh on this machine: users and devices connect here.",
    },
    "core": {
        "host": "127.0.0.1:4222",
        "protocol": "nats",
        "description": "The CORE account of the same broker: only the mesh's own services connect here.",
    },
}


def asyncapi_json() -> bytes:
    """Write the document as indented JSON, the same bytes each time."""
    return msgspec.json.format(msgspec.json.encode(asyncapi_document()), indent=2) + b"\n"


def asyncapi_document() -> Json:
    """Build the document."""
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "iG3 edge network", "version": _DOCUMENT_VERSION, "description": _ABOUT},
        "defaultContentType": MSGPACK_CONTENT_TYPE,
        "servers": _SERVERS,
        "channels": {channel.name: _channel(channel) for channel in CHANNELS},
        "operations": {name: body for channel in CHANNELS for name, body in _operations(channel).items()},
        "components": {"messages": _messages(), "schemas": _schemas()},
    }


def message_name(kind: type[Any]) -> str:
    """Name of an event or message in the document: its tag."""
    return str(kind.__struct_config__.tag)


def _channel(channel: Channel) -> Json:
    names = [name for kind in channel.kinds for name in _names(kind, takes_json=channel.takes_json)]
    body: Json = {
        "address": channel.address,
        "description": _plain(channel.description),
        "servers": [_ref("servers", channel.account.lower())],
        "messages": {name: _ref("components", "messages", name) for name in names},
    }
    if variables := _VARIABLE.findall(channel.address):
        body["parameters"] = {name: _parameter(name) for name in variables}
    if channel.stream is not None:
        body["x-ig3-stream"] = channel.stream
    return body


def _parameter(name: str) -> Json:
    values: Json = {"enum": _CLOSED[name]} if name in _CLOSED else {}
    return {"description": PARAMETERS[name], **values}


def _operations(channel: Channel) -> Json:
    sends = {
        f"{sender.role}.send.{channel.name}": _operation(channel, "send", sender.role, sender.kinds)
        for sender in channel.senders
    }
    receives = {
        f"{role}.receive.{channel.name}": _operation(channel, "receive", role, channel.kinds)
        for role in channel.receivers
    }
    return sends | receives


def _operation(channel: Channel, action: str, role: str, kinds: tuple[type[Any], ...]) -> Json:
    body: Json = {
        "action": action,
        "channel": _ref("channels", channel.name),
        "tags": [{"name": role}],
        "messages": _message_refs(channel.name, kinds, takes_json=channel.takes_json),
    }
    if channel.reply is not None:
        body["reply"] = _reply(channel.reply, takes_json=channel.takes_json)
    return body


def _reply(reply: Reply, *, takes_json: bool) -> Json:
    return {
        "channel": _ref("channels", reply.channel),
        "messages": _message_refs(reply.channel, reply.kinds, takes_json=takes_json),
    }


def _message_refs(channel: str, kinds: tuple[type[Any], ...], *, takes_json: bool) -> list[Json]:
    names = [name for kind in kinds for name in _names(kind, takes_json=takes_json)]
    return [_ref("channels", channel, "messages", name) for name in names]


def _names(kind: type[Any], *, takes_json: bool) -> tuple[str, ...]:
    name = message_name(kind)
    return (name, f"{name}{_JSON}") if takes_json else (name,)


def _messages() -> Json:
    twins = {kind for channel in CHANNELS if channel.takes_json for kind in channel.kinds}
    written: Json = {}
    for kind in (*CATALOGUE, *ALL_MESSAGES):
        written[message_name(kind)] = _message(kind, MSGPACK_CONTENT_TYPE)
        if kind in twins:
            written[f"{message_name(kind)}{_JSON}"] = _message(kind, JSON_CONTENT_TYPE)
    return written


def _message(kind: type[Any], content_type: str) -> Json:
    summary, _, more = _text(kind).partition("\n\n")
    body: Json = {
        "name": message_name(kind),
        "title": kind.__name__,
        "summary": summary,
        "contentType": content_type,
        "headers": _headers(content_type),
        "payload": _ref("components", "schemas", kind.__name__),
    }
    return {**body, "description": more} if more else body


def _headers(content_type: str) -> Json:
    said: Json = {"traceparent": {"type": "string", "description": "W3C trace context of the sender."}}
    if content_type != JSON_CONTENT_TYPE:
        return {"type": "object", "properties": said}
    said["Content-Type"] = {"const": JSON_CONTENT_TYPE}
    return {"type": "object", "properties": said, "required": ["Content-Type"]}


def _schemas() -> Json:
    _refs, schemas = msgspec.json.schema_components(
        [*CATALOGUE, *ALL_MESSAGES], ref_template=_ref("components", "schemas", "{name}")["$ref"]
    )
    for schema in schemas.values():
        schema["description"] = _plain(inspect.cleandoc(schema["description"]))
    return dict(sorted(schemas.items()))


def _text(kind: type[Any]) -> str:
    return _plain(inspect.getdoc(kind) or "")


def _plain(docstring: str) -> str:
    """AsyncAPI reads Markdown, where one backtick is enough."""
    return docstring.replace("``", "`")


def _ref(*path: str) -> Json:
    return {"$ref": "#/" + "/".join(path)}
