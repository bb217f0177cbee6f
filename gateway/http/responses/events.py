"""The typed events of a response, as OpenAI's clients know them."""

from __future__ import annotations

from typing import Final, Literal, get_args

from msgspec import Struct

from gateway.http.file_search.objects import FileCitation
from gateway.http.responses.objects import OutputItem, OutputText, Response

Whole = Literal[
    "response.created",
    "response.queued",
    "response.in_progress",
    "response.completed",
    "response.incomplete",
    "response.failed",
]
ItemKind = Literal["response.output_item.added", "response.output_item.done"]
SearchKind = Literal[
    "response.file_search_call.in_progress",
    "response.file_search_call.searching",
    "response.file_search_call.completed",
]
PartKind = Literal["response.content_part.added", "response.content_part.done"]


SEARCH_KINDS: Final[tuple[SearchKind, ...]] = get_args(SearchKind)
"""In their order."""


class ResponseEvent(Struct, frozen=True, kw_only=True):
    """How the whole response stands."""

    type: Whole
    response: Response
    sequence_number: int


class ItemEvent(Struct, frozen=True, kw_only=True):
    """An item of the output begins, or is whole."""

    type: ItemKind
    output_index: int
    item: OutputItem
    sequence_number: int


class PartEvent(Struct, frozen=True, kw_only=True):
    """A part of a message begins, or is whole."""

    type: PartKind
    item_id: str
    output_index: int
    content_index: int = 0
    part: OutputText
    sequence_number: int


class TextDelta(Struct, frozen=True, kw_only=True):
    """What the text has grown by."""

    type: Literal["response.output_text.delta"] = "response.output_text.delta"
    item_id: str
    output_index: int
    content_index: int = 0
    delta: str
    logprobs: tuple[None, ...] = ()
    sequence_number: int


class TextDone(Struct, frozen=True, kw_only=True):
    """The text is whole."""

    type: Literal["response.output_text.done"] = "response.output_text.done"
    item_id: str
    output_index: int
    content_index: int = 0
    text: str
    logprobs: tuple[None, ...] = ()
    sequence_number: int


class ArgumentsDelta(Struct, frozen=True, kw_only=True):
    """What the arguments of a call have grown by."""

    type: Literal["response.function_call_arguments.delta"] = "response.function_call_arguments.delta"
    item_id: str
    output_index: int
    delta: str
    sequence_number: int


class ArgumentsDone(Struct, frozen=True, kw_only=True):
    """The arguments of a call are whole."""

    type: Literal["response.function_call_arguments.done"] = "response.function_call_arguments.done"
    item_id: str
    output_index: int
    name: str
    arguments: str
    sequence_number: int


class SearchEvent(Struct, frozen=True, kw_only=True):
    """How far the search of files is."""

    type: SearchKind
    item_id: str
    output_index: int
    sequence_number: int


class AnnotationAdded(Struct, frozen=True, kw_only=True):
    """What the text rests on, up to some place."""

    type: Literal["response.output_text.annotation.added"] = "response.output_text.annotation.added"
    item_id: str
    output_index: int
    content_index: int = 0
    annotation_index: int
    annotation: FileCitation
    sequence_number: int


class ErrorEvent(Struct, frozen=True, kw_only=True):
    """The stream ends here, for a reason that is no end of the response."""

    type: Literal["error"] = "error"
    code: str | None
    message: str
    param: str | None
    sequence_number: int


StreamEvent = (
    ResponseEvent
    | ItemEvent
    | PartEvent
    | TextDelta
    | TextDone
    | ArgumentsDelta
    | ArgumentsDone
    | SearchEvent
    | AnnotationAdded
    | ErrorEvent
)
