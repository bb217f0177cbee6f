"""Reading a request's body, within limits of size and time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.web_exceptions import HTTPRequestEntityTooLarge

from gateway.http.errors import ApiError, too_large

if TYPE_CHECKING:
    from gateway.settings import GatewaySettings


async def read_json_body(request: web.Request, settings: GatewaySettings) -> bytes:
    """Return the body of a request that says that it is JSON, or does not say what it is.

    Raises:
        ApiError: 413 if it is too large, 408 if it comes too slowly, 415 if it says that it is something else, and 400
            if it breaks off or is not encoded as its headers say.
    """
    _check_type(request.headers.get("Content-Type"))
    if (request.content_length or 0) > settings.http_body_limit:
        raise too_large(settings.http_body_limit)
    try:
        if request.content.is_eof():
            return await request.read()
        async with asyncio.timeout(settings.http_body_timeout.total_seconds()):
            return await request.read()
    except HTTPRequestEntityTooLarge as error:
        raise too_large(settings.http_body_limit) from error
    except TimeoutError as error:
        message = f"The body did not come within {settings.http_body_timeout.total_seconds():g} s."
        raise ApiError(408, message, code="request_timeout", headers={"Connection": "close"}) from error
    except web.RequestPayloadError as error:
        message = "The body breaks off, or is not encoded as its headers say."
        raise ApiError(400, message, code="invalid_body") from error


def _check_type(content_type: str | None) -> None:
    if content_type is None or content_type == "application/json":
        return
    kind = content_type.partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        message = f"The body must be JSON, not {kind[:100]!r}: send the header Content-Type: application/json."
        raise ApiError(415, message, code="unsupported_media_type")
