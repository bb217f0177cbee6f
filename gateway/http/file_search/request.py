"""``file_search`` as OpenAI lets a client ask for it, and its filters, which searches of vector stores have too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal, NamedTuple, get_args

import msgspec
from msgspec import Meta, Struct

from gateway.http.errors import ApiError
from streams.stores.messages import MOST_FOUND, Combined, Compared, Comparing, Filter, Listed, Ranking
from streams.tasks.grounding import MOST_ROUNDS, MOST_STORES, FileSearch

if TYPE_CHECKING:
    from collections.abc import Sequence

TOOL: Final = "file_search"
"""Its name, also in the list of tools that a key may offer."""

USUAL_RESULTS: Final = 10
MOST_DEPTH: Final = 8
MOST_CONDITIONS: Final = 256

StoreId = Annotated[str, Meta(min_length=1, max_length=64)]
Threshold = Annotated[float, Meta(ge=0, le=1)]
Results = Annotated[int, Meta(ge=1, le=MOST_FOUND)]
Value = Annotated[str, Meta(max_length=512)] | float | bool
_Listed = Annotated[str, Meta(max_length=512)] | float


class FilterObject(Struct, frozen=True, omit_defaults=True):
    """A comparison (``key``, ``value``), or several filters joined (``filters``)."""

    type: Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin", "and", "or"]
    key: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    value: Value | Annotated[list[_Listed], Meta(max_length=1024)] | None = None
    filters: Annotated[list[FilterObject], Meta(max_length=MOST_CONDITIONS)] | None = None


class RankingOptions(Struct, frozen=True):
    """How what is found is ranked. ``dense``, ``lexical`` and ``hybrid`` are of this mesh."""

    ranker: Literal["auto", "none", "default-2024-11-15", "dense", "lexical", "hybrid"] | None = None
    score_threshold: Threshold | None = None
    hybrid_search: None = None


class FileSearchTool(Struct, frozen=True, tag_field="type", tag="file_search"):
    """``tools[]``: search these vector stores."""

    vector_store_ids: Annotated[list[StoreId], Meta(min_length=1, max_length=MOST_STORES)]
    max_num_results: Results | None = None
    filters: FilterObject | None = None
    ranking_options: RankingOptions | None = None


UNSUPPORTED: Final = frozenset({"hybrid_search"})
"""Parameters that do not work."""

ALLOWED: Final = {"ranker": ("auto", "none", "default-2024-11-15", "dense", "lexical", "hybrid")}


class Wanted(NamedTuple):
    """What to search, and what the attributes of the files must be."""

    search: FileSearch
    filter: Filter | None
    rounds: int | None = None
    """How often at most, as the model sees fit; None: as the gateway is set."""


def search_of(tools: Sequence[FileSearchTool], *, shows_results: bool, most_calls: int | None = None) -> Wanted | None:
    """What to search, ``most_calls`` times at most where that is said; None: nothing.

    Raises:
        ApiError: 400, if there are two such tools, or its filters make no sense.
    """
    if not tools:
        return None
    if len(tools) > 1:
        raise _wrong("tools", "one file_search is enough: it takes several vector stores")
    tool = tools[0]
    options = tool.ranking_options or RankingOptions()
    search = FileSearch(
        stores=tuple(dict.fromkeys(tool.vector_store_ids)),
        limit=tool.max_num_results or USUAL_RESULTS,
        filter_json="" if tool.filters is None else msgspec.json.encode(tool.filters).decode(),
        ranking=ranking_of(options),
        threshold=options.score_threshold or 0.0,
        shows_results=shows_results,
    )
    rounds = None if most_calls is None else min(most_calls, MOST_ROUNDS)
    return Wanted(search, filter_of(tool.filters, "tools[].filters"), rounds)


def ranking_of(options: RankingOptions) -> Ranking:
    """The mesh's own word for a ranker."""
    for known in get_args(Ranking):
        if options.ranker == known:
            return known
    return "auto"


def filter_of(given: FilterObject | None, param: str) -> Filter | None:
    """A filter as the retrieval process reads it.

    Raises:
        ApiError: 400, if it makes no sense, or is too large.
    """
    return None if given is None else _Reading(param).read(given, 1)


class _Reading:
    """Reads one filter, and counts its conditions."""

    def __init__(self, param: str) -> None:
        self._param = param
        self._count = 0

    def read(self, given: FilterObject, depth: int) -> Filter:
        self._count += 1
        if depth > MOST_DEPTH or self._count > MOST_CONDITIONS:
            raise _wrong(self._param, f"it has more than {MOST_CONDITIONS} conditions, or {MOST_DEPTH} levels")
        match given.type:
            case "and" | "or" as how:
                if not given.filters:
                    raise _missing(f"{self._param}.filters")
                return Combined(how=how, filters=tuple([self.read(one, depth + 1) for one in given.filters]))
            case "in" | "nin":
                name = self._key(given)
                if not isinstance(given.value, list):
                    raise _wrong(f"{self._param}.value", f"'{given.type}' compares with a list")
                return Listed(name=name, values=tuple(given.value), is_none_of=given.type == "nin")
            case _ as how:
                return self._compared(how, given)

    def _compared(self, how: Comparing, given: FilterObject) -> Compared:
        name = self._key(given)
        if given.value is None:
            raise _missing(f"{self._param}.value")
        if isinstance(given.value, list):
            raise _wrong(f"{self._param}.value", f"'{how}' compares with one value; 'in' and 'nin' take lists")
        return Compared(how=how, name=name, value=given.value)

    def _key(self, given: FilterObject) -> str:
        if given.key is None:
            raise _missing(f"{self._param}.key")
        return given.key


def _missing(place: str) -> ApiError:
    message = f"Missing required parameter: '{place}'."
    return ApiError(400, message, code="missing_required_parameter", param=place)


def _wrong(place: str, why: str) -> ApiError:
    return ApiError(400, f"Invalid value for '{place}': {why}.", code="invalid_value", param=place)
