"""``file_search`` as gRPC carries it: what is to be searched, and what an answer rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.http.errors import ApiError
from gateway.http.file_search.citations import citations_of
from gateway.http.file_search.request import FileSearchTool, search_of
from gateway.rpc.wire import inference_pb2 as pb

if TYPE_CHECKING:
    from gateway.http.file_search.citations import Citation
    from gateway.http.file_search.request import Wanted
    from streams.tasks.grounding import Grounding


def read_file_search(request: pb.SubmitRequest) -> Wanted | None:
    """What a request wants searched; None: nothing.

    Raises:
        ApiError: 400, naming the field that cannot be used.
    """
    if not request.HasField("file_search"):
        return None
    asked = request.file_search
    try:
        tool = msgspec.convert(
            {
                "type": "file_search",
                "vector_store_ids": list(asked.vector_store_ids),
                "max_num_results": asked.max_results or None,
                "filters": msgspec.json.decode(asked.filters_json) if asked.filters_json else None,
                "ranking_options": {"score_threshold": asked.score_threshold},
            },
            FileSearchTool,
        )
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"The value of file_search cannot be used: {error}."
        raise ApiError(400, message, code="invalid_value", param="file_search") from error
    return search_of((tool,), shows_results=False, most_calls=asked.max_rounds or None)


def add_citations(told: pb.Task, grounding: Grounding | None) -> None:
    """Add what was searched for, and what an answer that is whole rests on."""
    if grounding is None:
        return
    told.searched.extend(searched.query for searched in grounding.searches)
    if told.outcome == pb.OUTCOME_COMPLETED:
        told.citations.extend(map(_citation, citations_of(told.text, grounding)))


def _citation(citation: Citation) -> pb.Citation:
    found = citation.source.found
    return pb.Citation(
        index=citation.until,
        vector_store_id=found.store,
        file_id=found.file,
        filename=found.filename,
        support=citation.support,
        first=found.place.first,
        last=found.place.last,
        page=found.place.page,
        headings=found.place.heading,
    )
