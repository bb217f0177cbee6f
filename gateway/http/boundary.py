"""What every request passes on its way in and every answer on its way out: one function each, no stack of layers."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.auth.caller import CALLER_KEY
from gateway.bridge.routes import WEBSOCKET_PATH
from gateway.http.errors import ApiError, from_exception, stopping, unexpected
from gateway.http.messages.errors import error_response
from gateway.http.rate_headers import RATE_HEADERS, add_rate_headers
from gateway.http.site import CACHE_KEY, DISTANCE_KEY, REQUEST_ID_KEY, SITE, STARTED_KEY, TASK_KEY
from gateway.http.wishes import CACHE, DISTANCE, REQUEST_ID, TASK, chosen_task, request_id
from gateway.page.routes import FILES_ROUTE, PAGE_PATH

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

    from gateway.http.site import Site

log = logging.getLogger(__name__)

OPENAPI_PATH: Final = "/openapi.json"

ALWAYS_SERVED: Final = frozenset({"/healthz", "/readyz"})
"""What a gateway that stops still answers."""

OPEN_ROUTES: Final = frozenset(
    {
        *ALWAYS_SERVED,
        *(PAGE_PATH, FILES_ROUTE, OPENAPI_PATH),
        *("/v1/auth/challenge", "/v1/auth/login", "/v1/auth/me"),
        WEBSOCKET_PATH,
    }
)
"""What is served to whoever asks; sign-ins and the websocket find out by themselves who that is."""

CHAT_PATH: Final = "/v1/chat/completions"
COMPLETIONS_PATH: Final = "/v1/completions"
EMBEDDINGS_PATH: Final = "/v1/embeddings"
RESPONSES_PATH: Final = "/v1/responses"
MESSAGES_PATH: Final = "/v1/messages"

ASKING: Final = frozenset({CHAT_PATH, COMPLETIONS_PATH, EMBEDDINGS_PATH, RESPONSES_PATH, MESSAGES_PATH})
"""What asks a model: it is counted with what it asks (gateway.http.admission), and not as a read."""

PROCESSING_MS: Final = "openai-processing-ms"

_FIRST_ERROR: Final = 400
_CORS_REQUEST_HEADERS: Final = (
    "authorization, x-api-key, anthropic-version, anthropic-beta, content-type, idempotency-key, last-event-id, "
    "x-request-id, "
    "x-ig3-task, x-ig3-urgency, x-ig3-deadline-ms, x-ig3-on-disconnect, "
    "x-ig3-policy, x-ig3-region, x-ig3-max-price, x-ig3-min-reputation, x-ig3-redaction, x-ig3-cache, cache-control"
)
_CORS_ANSWER_HEADERS: Final = ", ".join(
    (REQUEST_ID, TASK, CACHE, DISTANCE, PROCESSING_MS, "retry-after", *RATE_HEADERS)
)


def boundary(site: Site) -> Middleware:
    """Make the middleware that checks who asks, and that turns every error into an answer in OpenAI's shape."""

    @web.middleware
    async def pass_boundary(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[REQUEST_ID_KEY] = request_id(request)
        # Not the loop's clock: asking for the loop is a system call in Python 3.11.
        request[STARTED_KEY] = time.monotonic()
        try:
            site.policy.check(request)
            if site.leaving.has_begun and request.path not in ALWAYS_SERVED:
                raise stopping("Ask another gateway, or this one when it is back.")
            if (preflight := _preflight(request, site)) is not None:
                return preflight
            await _identify(request, site)
            return await handler(request)
        except web.HTTPException as error:
            if error.status < _FIRST_ERROR:
                raise
            return _shown(request, _of_path(request, error))
        except Exception as error:
            return _shown(request, _answer(request, error))

    return pass_boundary


def _shown(request: web.Request, error: ApiError) -> web.Response:
    """An error in the shape of the API that was asked."""
    return error_response(error) if _is_messages(request) else error.response()


def _is_messages(request: web.BaseRequest) -> bool:
    path = request.path
    return path == MESSAGES_PATH or path.startswith(f"{MESSAGES_PATH}/")


async def _identify(request: web.Request, site: Site) -> None:
    """Find out who asks, unless it does not matter. By the route that was found, never by how the path is spelt."""
    resource = request.match_info.route.resource
    path = None if resource is None else resource.canonical
    if path in OPEN_ROUTES:
        return
    request[CALLER_KEY] = caller = await site.door.authenticate(request)
    if path not in ASKING:
        site.door.reads.count(caller.account)


async def sign(request: web.Request, response: web.StreamResponse) -> None:
    """Put on every answer what it belongs to, just before its head goes out."""
    headers = response.headers
    headers[REQUEST_ID] = request.get(REQUEST_ID_KEY) or request_id(request)
    headers["Server"] = "ig3"
    if _is_messages(request):
        # Where Anthropic's clients look for it.
        headers["request-id"] = headers[REQUEST_ID]
    for name, value in request.app[SITE].protection.items():
        headers.setdefault(name, value)
    started_s = request.get(STARTED_KEY)
    if started_s is not None:
        headers[PROCESSING_MS] = str(round((time.monotonic() - started_s) * 1000))
    task = request.get(TASK_KEY)
    if task is None and response.status >= _FIRST_ERROR:
        # A refusal before there is a task is about the one that the client wanted.
        task = chosen_task(request)
    if task is not None:
        headers[TASK] = task
    if (cache := request.get(CACHE_KEY)) is not None:
        headers[CACHE] = cache
    if (distance := request.get(DISTANCE_KEY)) is not None:
        headers[DISTANCE] = distance
    caller = request.get(CALLER_KEY)
    if caller is not None and (meters := request.app[SITE].limiter.meters_of(caller)):
        add_rate_headers(headers, meters)
    if "Origin" in request.headers:
        _allow_origin(request, response)


def _allow_origin(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Vary"] = "Origin"
    origin = request.app[SITE].policy.cors_origin(request)
    if origin is not None:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = _CORS_ANSWER_HEADERS


def _preflight(request: web.Request, site: Site) -> web.Response | None:
    origin = site.policy.cors_origin(request) if request.method == "OPTIONS" else None
    if origin is None or "Access-Control-Request-Method" not in request.headers:
        return None
    return web.Response(
        status=204,
        headers={
            "Access-Control-Allow-Methods": "GET, POST, DELETE",
            "Access-Control-Allow-Headers": _CORS_REQUEST_HEADERS,
            "Access-Control-Max-Age": "600",
        },
    )


def _of_path(request: web.Request, error: web.HTTPException) -> ApiError:
    place = f"{request.method} {request.path[:200]}"
    if isinstance(error, web.HTTPNotFound):
        return ApiError(404, f"Invalid URL ({place}).", code="unknown_url")
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        message = f"Invalid method for URL ({place}): use {allowed}."
        return ApiError(405, message, code="method_not_supported", headers={"Allow": allowed})
    return from_exception(error) or unexpected()


def _answer(request: web.Request, error: Exception) -> ApiError:
    known = from_exception(error)
    if known is not None:
        return known
    if request.writer.output_size > 0:
        # An answer has begun: all that is left is to break the connection, which raising does.
        raise error
    log.error("request %s %s failed", request.method, request.path, exc_info=error)
    return unexpected()
