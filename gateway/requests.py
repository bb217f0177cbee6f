"""Serving requests on the bus: read the body, do the work in the background, answer in the caller's format.

A service answers only under the caller's own inbox prefix: a reply subject is a publish right lent to whoever answers
(DESIGN, "Who may write what"), and a caller could lend one that is somebody's stream.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from mesh.bus.headers import CONTENT_TYPE, header, header_block
from mesh.errors import BusError, WrittenByNewer
from streams.codec import JSON_CONTENT_TYPE, decode, encode, encode_json, is_json
from streams.errors import StreamsError
from streams.messages import NEWER_VERSION, Refusal

if TYPE_CHECKING:
    from mesh.bus.direct_client import Delivery
    from mesh.bus.link import Link, Listener
    from streams.messages import Wire

log = logging.getLogger(__name__)

T = TypeVar("T")
Serve = Callable[["Delivery", Any], Coroutine[Any, Any, "Wire | None"]]
"""Gets the message and its decoded body; returns the answer, or None where nobody should answer."""

_INTERNAL: Refusal = Refusal(code="internal_error", message="The mesh could not serve this now; try again.", status=503)


class Desk:
    """Serves requests on one connection, each in a task of its own."""

    def __init__(self, link: Link) -> None:
        """Serve on ``link``."""
        self._link = link
        self._listeners: list[Listener] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(
        self,
        subject: str,
        kind: type[T],
        serve: Serve,
        *,
        queue: str = "",
        inbox_of: Callable[[str], str] | None = None,
        is_report: bool = False,
        refuse: Callable[[str], Refusal | None] | None = None,
    ) -> None:
        """Serve ``subject``.

        Args:
            subject: what to listen to.
            kind: what the body is.
            serve: does the work.
            queue: shares the requests with all who name the same queue.
            inbox_of: answer only callers whose reply lies under this prefix, which follows from their subject. Needed
                wherever others than our own services can ask.
            is_report: nobody is answered, whatever reply subject is named, and whatever is wrong with the body.
            refuse: gets the subject, and says why the question is not even read, or None.
        """

        def on_request(delivery: Delivery) -> None:
            if inbox_of is not None and not _is_callers_own(delivery, inbox_of):
                log.warning("a request on %s names a reply subject that is not its caller's: ignored", subject)
                return
            asked = delivery._replace(reply="") if is_report else delivery
            self.spawn(self._answer(asked, kind, serve, refuse))

        self._listeners.append(await self._link.listen(subject, on_request, queue=queue))

    async def stop(self) -> None:
        """Serve no more."""
        for listener in self._listeners:
            await listener.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something in the background, for as long as this desk is open."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(
        self, delivery: Delivery, kind: type[T], serve: Serve, refuse: Callable[[str], Refusal | None] | None
    ) -> None:
        content_type = header(delivery.headers, CONTENT_TYPE)
        answer = None if refuse is None else refuse(delivery.subject)
        answer = answer or await _result(delivery, kind, serve, content_type)
        if answer is None:
            return
        if is_json(content_type):
            self._link.reply_to(delivery, encode_json(answer), header_block((CONTENT_TYPE, JSON_CONTENT_TYPE)))
        else:
            self._link.reply_to(delivery, encode(answer))


def _is_callers_own(delivery: Delivery, inbox_of: Callable[[str], str]) -> bool:
    try:
        return delivery.reply.startswith(f"{inbox_of(delivery.subject)}.")
    except StreamsError:
        # The caller's own name is none.
        return False


async def _result(delivery: Delivery, kind: type[T], serve: Serve, content_type: str | None) -> Wire | None:
    try:
        return await serve(delivery, decode(delivery.data, kind, content_type=content_type))
    except StreamsError as error:
        return Refusal(code="invalid_request_error", message=str(error), status=400)
    except WrittenByNewer as error:
        log.error("a request on %s could not be served: %s", delivery.subject, error)
        return Refusal(code=NEWER_VERSION, message=str(error), status=501)
    except BusError as error:
        log.warning("a request on %s could not be served: %s", delivery.subject, error)
        return _INTERNAL
    except Exception:
        log.exception("a request on %s failed", delivery.subject)
        return _INTERNAL
