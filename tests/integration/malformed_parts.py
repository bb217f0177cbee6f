"""What malformed chat requests are made of, and what is said of them."""

import base64
import json
from dataclasses import dataclass, field
from typing import Any

from tests.http_gateway import chat

CHAT = "/v1/chat/completions"


@dataclass(frozen=True, kw_only=True)
class Bad:
    """A request and what is said of it."""

    name: str
    body: object = None
    raw: bytes | None = None
    status: int = 400
    code: str | None = "invalid_value"
    param: str | None = None
    method: str = "POST"
    path: str = CHAT
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def sent(self) -> bytes:
        if self.raw is not None:
            return self.raw
        return b"" if self.body is None else json.dumps(self.body).encode()

    @property
    def streamed(self) -> bytes:
        """The same request for a stream, where it is one that could be."""
        if not isinstance(self.body, dict) or self.body.keys() & {"stream", "stream_options"}:
            return self.sent
        return json.dumps({**self.body, "stream": True}).encode()


def message(**fields: object) -> object:
    return chat(messages=[fields])


OK = json.dumps(chat())[1:-1]
UNSUPPORTED = "unsupported_parameter"


def asking(*messages: dict[str, object], **fields: object) -> Any:
    return chat(messages=list(messages), **fields)


def parts(*content: object, role: str = "user") -> Any:
    return message(role=role, content=list(content))


def picture(url: object, **fields: object) -> Any:
    return parts({"type": "image_url", "image_url": {"url": url, **fields}})


def function(name: object = "f", **fields: object) -> dict[str, object]:
    return {"type": "function", "function": {"name": name, **fields}}


def tool(**fields: object) -> Any:
    return chat(tools=[function(**fields)])


def schema(value: object, **fields: object) -> Any:
    return chat(response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": value, **fields}})


def call(call_id: object = "c1", **fields: object) -> dict[str, object]:
    return {"id": call_id, "type": "function", "function": {"name": "f", "arguments": "{}", **fields}}


def called(*calls: dict[str, object], then: tuple[dict[str, object], ...] = ()) -> Any:
    return asking(USER, {"role": "assistant", "content": None, "tool_calls": list(calls)}, *then)


def result(call_id: object = "c1", **fields: object) -> dict[str, object]:
    return {"role": "tool", "tool_call_id": call_id, "content": "5", **fields}


USER: dict[str, object] = {"role": "user", "content": "hello"}
PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 40).decode()
MISSING = "missing_required_parameter"
TYPE = "invalid_type"
VALUE = "unsupported_value"
PICTURE = "invalid_image"
PARAMETERS = "tools[0].function.parameters"
SCHEMA = "response_format.json_schema.schema"
DEEP: dict[str, object] = {"type": "string"}
for _ in range(40):
    DEEP = {"type": "object", "properties": {"x": DEEP}}
