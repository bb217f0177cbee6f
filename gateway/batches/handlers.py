"""``/v1/batches``: many requests at once, for when there is room, as OpenAI's API has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from gateway.auth.caller import caller_with
from gateway.batches.outputs import NOTHING
from gateway.batches.progress import Progress
from gateway.files.handlers import unknown_file
from gateway.http.body import read_json_body
from gateway.http.body_reader import BodyReader
from gateway.http.errors import ApiError
from mesh.files.store import parse_file_id
from streams.batches.events import BatchCancelling, BatchCreated, BatchEnded, BatchRefused, Label
from streams.clock import now_ms
from streams.errors import StreamsError
from streams.tokens import token

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import timedelta

    from gateway.batches.log import BatchLog, Standing
    from gateway.http.site import Site
    from mesh.files.store import FileStore
    from streams.batches.fold import Batch
    from streams.tokens import Token

_JSON: Final = {"Content-Type": "application/json"}
_MS: Final = 1000
_DAY_MS: Final = 24 * 3600 * _MS

Status = Literal["validating", "failed", "in_progress", "completed", "expired", "cancelling", "cancelled"]


class BatchRequest(Struct, frozen=True, kw_only=True):
    """The body of a request for a batch."""

    input_file_id: Annotated[str, Meta(max_length=64)]
    endpoint: Annotated[str, Meta(max_length=64)]
    completion_window: Literal["24h"]
    metadata: (
        Annotated[dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=16)]
        | None
    ) = None


class BatchFault(Struct, frozen=True, kw_only=True):
    """What is wrong with a line of the input."""

    code: str
    message: str
    line: int | None
    param: str | None


class BatchFaults(Struct, frozen=True, kw_only=True):
    """OpenAI's list of what is wrong."""

    object: Literal["list"] = "list"
    data: tuple[BatchFault, ...]


class RequestCounts(Struct, frozen=True, kw_only=True):
    """How far it is."""

    total: int
    completed: int
    failed: int


class BatchObject(Struct, frozen=True, kw_only=True):
    """OpenAI's batch object."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    errors: BatchFaults | None
    input_file_id: str
    completion_window: Literal["24h"] = "24h"
    status: Status
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: None = None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    metadata: dict[str, str] | None


class BatchList(Struct, frozen=True, kw_only=True):
    """OpenAI's list of batches, the newest first."""

    object: Literal["list"] = "list"
    data: tuple[BatchObject, ...]
    first_id: str | None
    last_id: str | None
    has_more: bool


_body: Final = BodyReader(BatchRequest, allowed={"completion_window": ("24h",)})
_USUAL_PAGE: Final = 20
MOST_OF_PAGE: Final = 100


class Batches:
    """The handlers."""

    def __init__(
        self, site: Site, store: FileStore, batches: BatchLog, endpoints: Collection[str], kept: timedelta
    ) -> None:
        """Serve for ``site`` batches of requests for ``endpoints``; tasks are ``kept`` for so long."""
        self._site = site
        self._store = store
        self._batches = batches
        self._progress = Progress(store)
        self._endpoints = tuple(sorted(endpoints))
        self._window_ms = min(_DAY_MS, round(kept.total_seconds() * _MS))

    async def create(self, request: web.Request) -> web.Response:
        """Take a batch; its input is read afterwards."""
        caller = caller_with(request, "chat")
        asked = _body.read(await read_json_body(request, self._site.settings))
        if asked.endpoint not in self._endpoints:
            raise _wrong("endpoint", f"use one of {', '.join(self._endpoints)}")
        file = parse_file_id(asked.input_file_id)
        stored = None if file is None else await self._store.find(caller.account, file)
        if stored is None:
            raise unknown_file(asked.input_file_id)
        if stored.event.purpose != "batch":
            raise _wrong("input_file_id", f"the file is for {stored.event.purpose!r}; upload it with purpose=batch")
        at_ms = now_ms()
        event = BatchCreated(
            at_ms=at_ms,
            input_file=asked.input_file_id,
            endpoint=asked.endpoint,
            expires_at_ms=at_ms + self._window_ms,
            labels=tuple(Label(name=name, value=value) for name, value in (asked.metadata or {}).items()),
            key_id=caller.key_id,
        )
        name = await self._batches.create(caller.account, event)
        return await self._show(caller.account, name)

    async def show(self, request: web.Request) -> web.Response:
        """Say how a batch stands."""
        return await self._show(caller_with(request, "read").account, _name(request))

    async def list_all(self, request: web.Request) -> web.Response:
        """List the account's batches."""
        account = caller_with(request, "read").account
        limit, after = _limit(request), request.query.get("after")
        names = [name for name in await self._batches.list_all(account) if after is None or name < after]
        page = [await self._object(account, name) for name in names[:limit]]
        found = tuple(one for one in page if one is not None)
        body = BatchList(
            data=found,
            first_id=found[0].id if found else None,
            last_id=found[-1].id if found else None,
            has_more=len(names) > limit,
        )
        return web.Response(body=msgspec.json.encode(body), headers=_JSON)

    async def cancel(self, request: web.Request) -> web.Response:
        """Want no more of a batch; what is answered is kept."""
        account, name = caller_with(request, "chat").account, _name(request)

        def decide(batch: Batch) -> BatchCancelling | None:
            return None if batch.is_over or batch.cancelling else BatchCancelling(at_ms=now_ms())

        standing = await self._batches.note(account, name, decide)
        if standing is not None and standing.batch.end is not None and standing.batch.cancelling is None:
            message = f"The batch is over ({batch_status(standing.batch)}) and cannot be cancelled."
            raise ApiError(409, message, code="batch_over")
        return await self._show(account, name)

    async def _show(self, account: Token, name: Token) -> web.Response:
        found = await self._object(account, name)
        if found is None:
            raise ApiError(404, f"No batch found with id '{name}'.", code="batch_not_found", param="batch_id")
        return web.Response(body=msgspec.json.encode(found), headers=_JSON)

    async def _object(self, account: Token, name: Token) -> BatchObject | None:
        standing = await self._batches.find(account, name)
        if standing is None:
            return None
        end = standing.batch.end
        if isinstance(end, BatchEnded):
            return batch_object(standing, completed=end.completed, failed=end.failed)
        counts = NOTHING if standing.batch.started is None else await self._progress.of(account, name)
        return batch_object(standing, completed=counts.completed, failed=counts.failed)


def batch_status(batch: Batch) -> Status:
    """OpenAI's word for how a batch stands."""
    match batch.end:
        case BatchRefused():
            return "failed"
        case BatchEnded():
            return batch.end.outcome
        case None:
            if batch.cancelling is not None:
                return "cancelling"
            return "validating" if batch.started is None else "in_progress"


def batch_object(standing: Standing, *, completed: int, failed: int) -> BatchObject:
    """A batch as OpenAI's clients read it."""
    batch, status = standing.batch, batch_status(standing.batch)
    created, end = batch.created, batch.end
    ended_at = None if end is None else end.at_ms // _MS
    files = end if isinstance(end, BatchEnded) else None
    return BatchObject(
        id=standing.id,
        endpoint=created.endpoint,
        errors=_faults(end) if isinstance(end, BatchRefused) else None,
        input_file_id=created.input_file,
        status=status,
        output_file_id=None if files is None else files.output_file,
        error_file_id=None if files is None else files.error_file,
        created_at=created.at_ms // _MS,
        in_progress_at=None if batch.started is None else batch.started.at_ms // _MS,
        expires_at=created.expires_at_ms // _MS,
        completed_at=ended_at if status == "completed" else None,
        failed_at=ended_at if status == "failed" else None,
        expired_at=ended_at if status == "expired" else None,
        cancelling_at=None if batch.cancelling is None else batch.cancelling.at_ms // _MS,
        cancelled_at=ended_at if status == "cancelled" else None,
        request_counts=RequestCounts(
            total=0 if batch.started is None else batch.started.requests, completed=completed, failed=failed
        ),
        metadata={label.name: label.value for label in created.labels} or None,
    )


def _faults(end: BatchRefused) -> BatchFaults:
    return BatchFaults(
        data=tuple(
            BatchFault(code=fault.code, message=fault.message, line=fault.line, param=fault.param)
            for fault in end.faults
        )
    )


def _name(request: web.Request) -> Token:
    text = request.match_info["batch"]
    try:
        return token(text)
    except StreamsError as error:
        message = f"No batch found with id '{text[:100]}'."
        raise ApiError(404, message, code="batch_not_found", param="batch_id") from error


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", str(_USUAL_PAGE))
    if not text.isdecimal() or not 1 <= int(text) <= MOST_OF_PAGE:
        raise _wrong("limit", f"use a whole number from 1 to {MOST_OF_PAGE}")
    return int(text)


def _wrong(field: str, remedy: str) -> ApiError:
    return ApiError(400, f"The value of {field!r} cannot be used: {remedy}.", code="invalid_value", param=field)
