"""What clients read of a search and of what an answer rests on: OpenAI's objects, with the place in the file beside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Raw, Struct

from gateway.http.file_search.citations import Support, citations_of

if TYPE_CHECKING:
    from streams.stores.events import AttributeValue
    from streams.stores.messages import FoundPassage
    from streams.stores.passages import Place
    from streams.tasks.grounding import FileSearch, Grounding
    from streams.tokens import Token


class PlaceObject(Struct, frozen=True, kw_only=True):
    """Where in a file: characters ``first`` up to ``last`` of its text, its page, and the headings above."""

    first: int
    last: int
    page: int | None
    heading: tuple[str, ...]


class FileCitation(Struct, frozen=True, kw_only=True, tag_field="type", tag="file_citation"):
    """What an answer rests on up to character ``index``; ``support`` says how that is known (docs/retrieval.md)."""

    file_id: str
    filename: str
    index: int
    support: Support
    place: PlaceObject


class FoundText(Struct, frozen=True, kw_only=True):
    """A passage that was found, as part of ``file_search_call.results``."""

    file_id: str
    filename: str
    score: float
    text: str
    attributes: dict[str, str | float | bool]
    vector_store_id: str
    place: PlaceObject


class FileSearchCall(Struct, frozen=True, kw_only=True, tag_field="type", tag="file_search_call"):
    """That was searched, as an item of a response."""

    id: str
    status: Literal["in_progress", "searching", "completed", "incomplete", "failed"]
    queries: tuple[str, ...]
    results: tuple[FoundText, ...] | None = None


class RankingShown(Struct, frozen=True, kw_only=True):
    """How what was found was ranked."""

    ranker: str
    score_threshold: float


class FileSearchShown(Struct, frozen=True, kw_only=True, tag_field="type", tag="file_search"):
    """The tool, as the response says it back."""

    vector_store_ids: tuple[str, ...]
    max_num_results: int
    filters: Raw | None
    ranking_options: RankingShown


def annotations_of(text: str, grounding: Grounding | None) -> tuple[FileCitation, ...]:
    """What an answer rests on."""
    return tuple(
        [
            FileCitation(
                file_id=one.source.found.file,
                filename=one.source.found.filename,
                index=one.until,
                support=one.support,
                place=place_object(one.source.found.place),
            )
            for one in citations_of(text, grounding)
        ]
    )


def search_calls(task: Token, grounding: Grounding, *, is_over: bool = True) -> tuple[FileSearchCall, ...]:
    """The searches of a task, in their order."""
    shows = is_over and grounding.search.shows_results
    return tuple(
        [
            FileSearchCall(
                id=f"fs_{task}_{number}" if number else f"fs_{task}",
                status="completed" if is_over else "in_progress",
                queries=(searched.query,),
                results=tuple([_found_text(source.found) for source in searched.sources]) if shows else None,
            )
            for number, searched in enumerate(grounding.searches)
        ]
    )


def tool_shown(search: FileSearch) -> FileSearchShown:
    """What was to be searched, and how."""
    return FileSearchShown(
        vector_store_ids=search.stores,
        max_num_results=search.limit,
        filters=Raw(search.filter_json.encode()) if search.filter_json else None,
        ranking_options=RankingShown(ranker=search.ranking, score_threshold=search.threshold),
    )


def place_object(place: Place) -> PlaceObject:
    """A place as clients read it."""
    return PlaceObject(first=place.first, last=place.last, page=place.page, heading=place.heading)


def attributes_object(found: FoundPassage) -> dict[str, AttributeValue]:
    """What its owner has noted on the file."""
    return {attribute.name: attribute.value for attribute in found.attributes}


def _found_text(found: FoundPassage) -> FoundText:
    return FoundText(
        file_id=found.file,
        filename=found.filename,
        score=found.score,
        text=found.text,
        attributes=attributes_object(found),
        vector_store_id=found.store,
        place=place_object(found.place),
    )
