"""Asking the retrieval processes for passages."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.http.errors import ApiError, from_task_error
from mesh.errors import NoResponders, RequestTimedOut
from streams.codec import encode
from streams.stores import subjects as store_subjects
from streams.stores.messages import MOST_QUERY_CHARS, FoundPassages, RetrievalRefused, SearchPassages
from streams.tasks.task_error import TaskError

if TYPE_CHECKING:
    from gateway.http.file_search.request import Wanted
    from mesh.access.caller import Caller
    from mesh.bus.link import Link
    from streams.stores.messages import FoundPassage

PATIENCE: Final = timedelta(seconds=20)
"""How long a search may take: its query becomes a vector on a node of the mesh."""

_read_answer: Final = msgspec.msgpack.Decoder(FoundPassages | RetrievalRefused).decode


async def find_passages(core: Link, caller: Caller, wanted: Wanted, query: str) -> tuple[FoundPassage, ...]:
    """Search vector stores of the caller's account; returns the best passages first.

    Raises:
        ApiError: if there is no such store, or nobody is there to search.
        BusError: if the bus is away.
    """
    search = wanted.search
    asked = SearchPassages(
        account=caller.account,
        stores=search.stores,
        query=query[:MOST_QUERY_CHARS],
        limit=search.limit,
        filter=wanted.filter,
        threshold=search.threshold,
        ranking=search.ranking,
        key_id=caller.key_id,
    )
    try:
        answer = await core.request(store_subjects.SEARCH, encode(asked), timeout=PATIENCE)
    except NoResponders as error:
        raise _unavailable("No retrieval process is there to search: `ig3 retrieval` starts one.") from error
    except RequestTimedOut as error:
        message = f"The search took longer than {PATIENCE.total_seconds():.0f} s; is a node there that embeds?"
        raise _unavailable(message) from error
    found = _read_answer(answer.data)
    if isinstance(found, RetrievalRefused):
        raise from_task_error(TaskError(code=found.code, message=found.message, status=found.status))
    return found.hits


def _unavailable(message: str) -> ApiError:
    return ApiError(503, message, code="retrieval_unavailable", headers={"Retry-After": "1"})
