"""Errors in Anthropic's shape; what is wrong is the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec
from aiohttp import web
from msgspec import Struct

if TYPE_CHECKING:
    from gateway.http.errors import ApiError

_TYPES: Final = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
}
_SERVER_ERROR: Final = 500


class MessagesErrorDetail(Struct, frozen=True, kw_only=True):
    """Anthropic's error object, and our own code beside it."""

    type: str
    message: str
    code: str | None
    param: str | None


class MessagesError(Struct, frozen=True, kw_only=True):
    """The body of an answer that is an error, and the data of the event that ends a stream with one."""

    type: Literal["error"] = "error"
    error: MessagesErrorDetail


def error_body(error: ApiError) -> bytes:
    """The JSON of an error."""
    detail = error.detail()
    usual = "invalid_request_error" if error.status < _SERVER_ERROR else "api_error"
    kind = _TYPES.get(error.status, usual)
    shown = MessagesErrorDetail(type=kind, message=detail.message, code=detail.code, param=detail.param)
    return msgspec.json.encode(MessagesError(error=shown))


def error_response(error: ApiError) -> web.Response:
    """A whole answer."""
    headers = {"Content-Type": "application/json", **error.headers}
    return web.Response(status=error.status, body=error_body(error), headers=headers)
