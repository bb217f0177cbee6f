"""What a client can be told went wrong, in OpenAI's shape, and the one place where foreign errors become that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import web
from msgspec import Struct

from gateway.auth.caller import NotAllowed
from gateway.auth.failed_logins import TooManyFailures
from gateway.auth.refusal import SignInRefused
from gateway.errors import GatewayError
from gateway.intake.queue_gate import TaskNotTaken
from gateway.limits.ticket import LimitReached
from mesh.errors import BusError, CredentialRefused, StoreFull, WrittenByNewer
from mesh.redaction import hide_secrets
from streams.errors import StreamsError
from streams.events import TaskError
from streams.messages import NEWER_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.messages import Refusal
    from streams.tasks.task import TaskState

CANCELLED_STATUS: Final = 499
"""For a task that was cancelled: below 500 and no 408, 409 or 429, so that no client library tries again by itself."""

_TYPES: Final = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
INSUFFICIENT_QUOTA: Final = "insufficient_quota"
"""OpenAI's type where an account has no money left, or none for this month."""
_NO_MONEY: Final = frozenset({INSUFFICIENT_QUOTA, "budget_exceeded"})
_HEADERS: Final = {
    # OpenAI's clients try every 429 again; money does not come back by waiting a second.
    **{code: {"x-should-retry": "false"} for code in _NO_MONEY},
    "billing_unavailable": {"Retry-After": "1"},
}
"""What goes with errors that a task ended with."""
_REQUESTS: Final = "requests"
_TOKENS: Final = "tokens"
"""OpenAI's types where there are too many requests, or too many tokens."""
_SERVER_ERROR: Final = 500
_LAST_STATUS: Final = 599

_UNEXPLAINED: Final = {
    "cancelled": TaskError(code="cancelled", message="The task was cancelled.", status=CANCELLED_STATUS),
    "dead": TaskError(code="task_dead", message="The task was given up; the mesh gave no reason.", status=500),
}
_FAILED: Final = TaskError(code="task_failed", message="The task failed; the mesh gave no reason.", status=500)


class ErrorDetail(Struct, frozen=True, kw_only=True):
    """OpenAI's error object; clients read ``code`` and ``param``, people read ``message``."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(Struct, frozen=True, kw_only=True):
    """The body of every answer that is an error, and the data of an SSE event that ends a stream with one."""

    error: ErrorDetail


class ApiError(GatewayError):
    """An answer that is an error; the message goes to the client as it is, so it says what to do."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        kind: str | None = None,
    ) -> None:
        """Keep what the answer is made of; ``kind`` is OpenAI's ``type`` where it does not follow from the status."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.headers = headers or {}
        self.kind = kind

    def detail(self) -> ErrorDetail:
        """What a client may be told, in OpenAI's words."""
        usual = "invalid_request_error" if self.status < _SERVER_ERROR else "server_error"
        kind = self.kind or _TYPES.get(self.status, usual)
        param = None if self.param is None else _sendable(self.param)
        return ErrorDetail(message=_sendable(self.message), type=kind, param=param, code=self.code)

    def body(self) -> bytes:
        """The JSON of this error."""
        return msgspec.json.encode(ErrorBody(error=self.detail()))

    def response(self) -> web.Response:
        """The whole answer."""
        return web.Response(
            status=self.status, body=self.body(), headers={"Content-Type": "application/json", **self.headers}
        )


def from_task_error(error: TaskError) -> ApiError:
    """What a task ended with, as an answer; a status that HTTP does not have becomes 500."""
    status = error.status if CANCELLED_STATUS - 99 <= error.status <= _LAST_STATUS else _SERVER_ERROR
    # Only a node can count tokens, and it knows nothing of HTTP's parameters.
    param = "messages" if error.code == "context_length_exceeded" else error.param
    kind = INSUFFICIENT_QUOTA if error.code in _NO_MONEY else None
    return ApiError(status, error.message, code=error.code, param=param, headers=_HEADERS.get(error.code), kind=kind)


def from_end(state: TaskState) -> ApiError:
    """What a client is told of a task that has ended without a whole answer."""
    return from_task_error(state.error or _UNEXPLAINED.get(state.outcome or "", _FAILED))


def from_refusal(refusal: Refusal) -> ApiError:
    """A service's refusal, as an answer."""
    return from_task_error(TaskError(code=refusal.code, message=refusal.message, status=refusal.status))


def from_exception(error: Exception) -> ApiError | None:
    """An answer for an error of our own or of aiohttp; None for what nobody foresaw."""
    match error:
        case ApiError():
            return error
        case web.HTTPException():
            return _from_aiohttp(error)
        case CredentialRefused() | NotAllowed() | SignInRefused():
            return turned_away(error)
        case TooManyFailures() | LimitReached() | TaskNotTaken():
            return not_now(error)
        case StoreFull():
            return store_full(str(error))
        case WrittenByNewer():
            return newer_version(error)
        case BusError():
            return unavailable(f"The mesh cannot be reached now: {error}")
        case StreamsError():
            return ApiError(400, str(error), code="invalid_value")
        case _:
            return None


def turned_away(error: CredentialRefused | NotAllowed | SignInRefused) -> ApiError:
    """Whoever asks is not known (401), or may not do this (403)."""
    match error:
        case CredentialRefused():
            return ApiError(401, str(error), code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})
        case NotAllowed():
            return ApiError(403, str(error), code=error.code)
        case SignInRefused():
            return ApiError(error.status, str(error), code=error.code)


def not_now(error: TooManyFailures | LimitReached | TaskNotTaken) -> ApiError:
    """Whoever asks is to come back later."""
    match error:
        case TooManyFailures():
            headers = {"Retry-After": str(error.retry_after_s)}
            return ApiError(429, str(error), code="too_many_attempts", headers=headers)
        case LimitReached():
            return limit_reached(error)
        case TaskNotTaken():
            return not_taken(error)


def unavailable(message: str) -> ApiError:
    """The mesh itself is in the way; the same request may succeed soon."""
    return ApiError(503, message, code="mesh_unavailable", headers={"Retry-After": "1"})


def newer_version(error: WrittenByNewer) -> ApiError:
    """A newer version has written what this gateway cannot read; another gateway may be able to."""
    return ApiError(501, str(error), code=NEWER_VERSION)


def store_full(reason: str) -> ApiError:
    """The brokers have no room for new tasks; those that were accepted go on."""
    message = f"The mesh takes no new tasks now: {reason}"
    return ApiError(503, message, code="store_full", headers={"Retry-After": "5"})


def not_taken(error: TaskNotTaken) -> ApiError:
    """A queue is full, or nobody is there to serve it; nothing was stored."""
    return ApiError(
        error.status,
        str(error),
        code=error.code,
        headers={"Retry-After": str(error.retry_after_s)},
        kind=_REQUESTS if error.code == "rate_limit_exceeded" else None,
    )


def limit_reached(error: LimitReached) -> ApiError:
    """An account or a key has had what it may have for now."""
    wait_s = error.retry_after_s
    # What can never fit is not tried again by OpenAI's clients.
    headers = {"x-should-retry": "false"} if wait_s is None else {"Retry-After": str(wait_s)}
    kind = _TOKENS if error.shortage.kind == "tokens" else _REQUESTS
    return ApiError(429, str(error), code="rate_limit_exceeded", headers=headers, kind=kind)


def stopping(remedy: str) -> ApiError:
    """This gateway stops, and another goes on with what it leaves."""
    return ApiError(
        503,
        f"This gateway stops. {remedy}",
        code="gateway_stopping",
        headers={"Retry-After": "1", "Connection": "close"},
    )


def unexpected() -> ApiError:
    """For what nobody foresaw: the reason goes to the log, never to the client."""
    return ApiError(500, "The gateway made a mistake; its log says which.", code="internal_error")


def too_large(limit_bytes: int) -> ApiError:
    """The body is over the limit."""
    return ApiError(413, f"The request is larger than {limit_bytes} bytes.", code="request_too_large")


def _sendable(text: str) -> str:
    # What a message quotes of a request may hold half a surrogate pair, which no JSON can; or a key that stood in the
    # wrong place, which would go on into the logs of whoever asked.
    return hide_secrets(text.encode("utf-8", "replace").decode())


def _from_aiohttp(error: web.HTTPException) -> ApiError:
    allow = error.headers.get("Allow")
    return ApiError(
        error.status, error.text or error.reason, code=None, headers={} if allow is None else {"Allow": allow}
    )
