"""What a client of gRPC is told went wrong: the API's own errors as statuses, in one place."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, NoReturn

import grpc

from gateway.http.errors import from_exception, unexpected

if TYPE_CHECKING:
    from gateway.http.errors import ApiError

log = logging.getLogger(__name__)

CODE: Final = "ig3-code"
PARAM: Final = "ig3-param"
RETRY_AFTER_S: Final = "retry-after-s"

STATUSES: Final = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    402: grpc.StatusCode.RESOURCE_EXHAUSTED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    409: grpc.StatusCode.ALREADY_EXISTS,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""By the status that HTTP would have given; all others are INTERNAL."""


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: Exception) -> NoReturn:
    """End a call with what went wrong; what nobody foresaw goes to the log and not to the client."""
    known = from_exception(error)
    if known is None:
        log.error("a call of gRPC failed", exc_info=error)
        known = unexpected()
    code = STATUSES.get(known.status, grpc.StatusCode.INTERNAL)
    await context.abort(code, known.message, trailing_metadata=_trailer(known))


def _trailer(error: ApiError) -> tuple[tuple[str, str], ...]:
    """The words for programs; metadata is printable ASCII."""
    words = ((CODE, error.code), (PARAM, error.param), (RETRY_AFTER_S, error.headers.get("Retry-After")))
    return tuple(
        (name, word.encode("ascii", "backslashreplace").decode()) for name, word in words if word and word.isprintable()
    )
