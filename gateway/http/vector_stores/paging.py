"""A part of a list, as OpenAI's clients page through it: behind or before an item, the newest or the oldest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from gateway.http.errors import ApiError
from gateway.http.vector_stores.objects import ListOf

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.http.vector_stores.request import PageQuery


class _Named(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_Named)


class Part(NamedTuple):
    """The ids of a page, in the order in which they are shown."""

    ids: Sequence[str]
    has_more: bool


def part_of(oldest_first: Sequence[str], page: PageQuery) -> Part:
    """Choose the ids of a page.

    Raises:
        ApiError: 400, if ``after`` or ``before`` is none of them.
    """
    ids = list(oldest_first) if page.order == "asc" else list(reversed(oldest_first))
    if page.after is not None:
        ids = ids[_place(ids, page.after, "after") + 1 :]
    if page.before is not None:
        # The page that ends just before it.
        ids = ids[: _place(ids, page.before, "before")]
        return Part(ids[-page.limit :], len(ids) > page.limit)
    return Part(ids[: page.limit], len(ids) > page.limit)


def listed(items: Sequence[T], *, has_more: bool) -> ListOf[T]:
    """Write a page."""
    return ListOf(
        data=tuple(items),
        first_id=items[0].id if items else None,
        last_id=items[-1].id if items else None,
        has_more=has_more,
    )


def _place(ids: Sequence[str], wanted: str, param: str) -> int:
    if wanted not in ids:
        message = f"Invalid value for '{param}': {wanted[:100]!r} is none of the list."
        raise ApiError(400, message, code="invalid_value", param=param)
    return ids.index(wanted)
