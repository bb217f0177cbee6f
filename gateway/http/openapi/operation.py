"""What the OpenAPI document says of one method of one path."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from gateway.http.errors import ErrorBody


class Parameter(NamedTuple):
    """Something in the path, the query or a header."""

    name: str
    kind: Any
    """Its type, as msgspec reads annotations."""
    place: Literal["path", "query", "header"] = "query"
    description: str = ""


class Operation(NamedTuple):
    """One method of one path."""

    method: Literal["get", "post", "delete"]
    path: str
    summary: str
    request: Any = None
    """The type of its body."""
    answer: Any = None
    """The type of what comes back as JSON."""
    events: tuple[Any, ...] = ()
    """The types of the data of its server-sent events, where it may stream; ``str``: described in docs/http.md."""
    status: int = 200
    parameters: tuple[Parameter, ...] = ()
    media_type: str = ""
    """What comes back, where that is no JSON."""
    is_open: bool = False
    """Whether it is served to whoever asks."""
    error: Any = ErrorBody
