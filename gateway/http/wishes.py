"""What a client says of its request in headers: its id, its urgency, how long it may take, what a hang-up means."""

from __future__ import annotations

import itertools
import os
import re
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final, get_args

from msgspec import Struct

from gateway.http.errors import ApiError, from_task_error
from gateway.http.placing_rules import read_rules, with_redaction
from gateway.limits.bounds import time_error
from gateway.settings import OnDisconnect
from mesh.redaction import holds_secret
from streams.access.limits import NO_BOUNDS, Bounds
from streams.errors import InvalidTaskId
from streams.subjects import SERVICE_CLASSES, ServiceClass
from streams.tasks.placing import Redaction, Rules
from streams.tasks.task_id import check_age, parse_task_id
from streams.tokens import Token

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.http.chat.request import ServiceTier

REQUEST_ID: Final = "x-request-id"
TASK: Final = "x-ig3-task"
URGENCY: Final = "x-ig3-urgency"
DEADLINE: Final = "x-ig3-deadline-ms"
ON_DISCONNECT: Final = "x-ig3-on-disconnect"
LAST_EVENT_ID: Final = "Last-Event-ID"
IDEMPOTENCY_KEY: Final = "Idempotency-Key"
CACHE: Final = "x-ig3-cache"
DISTANCE: Final = "x-ig3-cache-distance"

LONGEST_DEADLINE: Final = timedelta(hours=24)

_PROCESS: Final = os.urandom(8).hex()
_NUMBERS: Final = itertools.count(1)
"""A random half and a counted one: as unique as all random, at a tenth of the price."""

_SANE_ID: Final = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_KEY: Final = re.compile(r"[\x20-\x7e]{1,255}")
_COUNTER: Final = re.compile(r"[0-9]{1,18}")
_DISCONNECT_CHOICES: Final[tuple[OnDisconnect, ...]] = get_args(OnDisconnect)
_TIERS: Final[dict[ServiceTier, ServiceClass]] = {"flex": "batch", "priority": "interactive", "scale": "interactive"}
"""OpenAI's ``service_tier`` as a class; ``auto`` and ``default`` leave it to the settings."""


class Defaults(Struct, frozen=True, kw_only=True):
    """What holds where a request says nothing."""

    urgency: ServiceClass
    on_disconnect: OnDisconnect
    deadline: timedelta
    retention: timedelta
    redaction: Redaction | None = None
    """What providers outside are not to see; None: what their nodes' operators have set."""
    bounds: Bounds = NO_BOUNDS
    """How long an answer may take, and how large it may be."""


class Wishes(Struct, frozen=True, kw_only=True):
    """What holds for one request. ``task`` is the id that the client chose for it."""

    urgency: ServiceClass
    deadline_at_ms: int
    on_disconnect: OnDisconnect
    task: Token | None = None
    after: int = 0
    rules: Rules | None = None
    bounds: Bounds = NO_BOUNDS


def read_wishes(request: web.Request, tier: ServiceTier | None, defaults: Defaults) -> Wishes:
    """Read the headers of a chat request.

    Raises:
        ApiError: 400, naming the header that cannot be used.
    """
    now_ms = time.time_ns() // 1_000_000
    return Wishes(
        urgency=_urgency(request, tier, defaults.urgency),
        deadline_at_ms=now_ms + _deadline_ms(request, defaults),
        on_disconnect=_on_disconnect(request, defaults.on_disconnect),
        task=_task(request, now_ms, defaults.retention),
        after=last_event_id(request),
        rules=with_redaction(read_rules(request), defaults.redaction),
        bounds=defaults.bounds,
    )


def idempotency_key(request: web.Request) -> str | None:
    """The client's key for this request, or None.

    Raises:
        ApiError: 400, if it cannot be one.
    """
    given = request.headers.get(IDEMPOTENCY_KEY)
    if given is not None and not _KEY.fullmatch(given):
        raise _unusable(IDEMPOTENCY_KEY, "it must be 1 to 255 printable ASCII characters")
    return given


def request_id(request: web.BaseRequest) -> str:
    """The client's own id of the request if it is one that may stand in a log line, else a fresh one."""
    given = request.headers.get(REQUEST_ID)
    if given is not None and _SANE_ID.fullmatch(given) and not holds_secret(given):
        return given
    return f"req_{_PROCESS}{next(_NUMBERS):012x}"


def chosen_task(request: web.BaseRequest) -> Token | None:
    """The id that the client chose for a task, if it is one; its age is not looked at."""
    given = request.headers.get(TASK)
    if given is None:
        return None
    try:
        return parse_task_id(given)
    except InvalidTaskId:
        return None


def task_in_path(request: web.Request) -> Token:
    """The task that the path names.

    Raises:
        ApiError: 404, since no task can have such an id.
    """
    text = request.match_info["task"]
    try:
        return parse_task_id(text.removeprefix("chatcmpl-"))
    except InvalidTaskId as error:
        raise unknown_task(text) from error


def unknown_task(text: str) -> ApiError:
    """No such task is known, or no longer."""
    return ApiError(404, f"No task {text[:100]!r} is known here.", code="task_not_found", param="task")


def last_event_id(request: web.Request) -> int:
    """The last counter that the client has: ``Last-Event-ID``, which a browser keeps current, else ``?after=``.

    Raises:
        ApiError: 400, if it is no counter.
    """
    header = request.headers.get(LAST_EVENT_ID)
    text = header or (request.query.get("after", "") if request.query_string else "")
    if not text:
        return 0
    if not _COUNTER.fullmatch(text):
        where = LAST_EVENT_ID if header else "after"
        raise _unusable(where, "it must be the id of an event: a whole number")
    return int(text)


def _urgency(request: web.Request, tier: ServiceTier | None, default: ServiceClass) -> ServiceClass:
    given = request.headers.get(URGENCY)
    if given is None:
        return _TIERS.get(tier, default) if tier is not None else default
    for known in SERVICE_CLASSES:
        if known == given:
            return known
    raise _unusable(URGENCY, f"use one of {', '.join(SERVICE_CLASSES)}")


def _on_disconnect(request: web.Request, default: OnDisconnect) -> OnDisconnect:
    given = request.headers.get(ON_DISCONNECT)
    if given is None:
        return default
    for known in _DISCONNECT_CHOICES:
        if known == given:
            return known
    raise _unusable(ON_DISCONNECT, f"use one of {', '.join(_DISCONNECT_CHOICES)}")


def usual_deadline_ms(defaults: Defaults) -> int:
    """How long an answer may take whose request does not say it."""
    usual_ms, most_s = round(defaults.deadline.total_seconds() * 1000), defaults.bounds.most_seconds
    return usual_ms if most_s is None else min(usual_ms, most_s * 1000)


def _deadline_ms(request: web.Request, defaults: Defaults) -> int:
    given = request.headers.get(DEADLINE)
    if given is None:
        return usual_deadline_ms(defaults)
    longest_ms = LONGEST_DEADLINE // timedelta(milliseconds=1)
    if not _COUNTER.fullmatch(given) or not 1 <= int(given) <= longest_ms:
        raise _unusable(DEADLINE, f"use milliseconds from now, 1 to {longest_ms}")
    if (error := time_error(int(given), defaults.bounds, param=DEADLINE)) is not None:
        raise from_task_error(error)
    return int(given)


def _task(request: web.Request, now_ms: int, retention: timedelta) -> Token | None:
    given = request.headers.get(TASK)
    if given is None:
        return None
    try:
        task = parse_task_id(given)
        check_age(task, now_ms=now_ms, retention=retention)
    except InvalidTaskId as error:
        raise ApiError(400, f"{TASK}: {error}.", code="invalid_value", param=TASK) from error
    return task


def _unusable(header: str, remedy: str) -> ApiError:
    return ApiError(400, f"The value of {header} cannot be used: {remedy}.", code="invalid_value", param=header)
