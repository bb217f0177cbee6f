"""Whether the attributes of a file are what a search asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from streams.stores.messages import Combined, Compared, Listed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.stores.events import Attributes, AttributeValue
    from streams.stores.messages import Comparing, Filter

_ORDERS: Final[Mapping[Comparing, frozenset[int]]] = {
    "gt": frozenset({1}),
    "gte": frozenset({0, 1}),
    "lt": frozenset({-1}),
    "lte": frozenset({-1, 0}),
}
"""For each comparison that asks for an order, those that fulfil it."""


def matches(wanted: Filter, attributes: Attributes) -> bool:
    """Say whether a file with these attributes is wanted.

    Text compares with text, numbers with numbers, true and false with themselves. An attribute that the file has not,
    or of another kind, is unlike every value: it matches ``ne`` and "none of these", and nothing else.
    """
    return _matches(wanted, {attribute.name: attribute.value for attribute in attributes})


def _matches(wanted: Filter, known: Mapping[str, AttributeValue]) -> bool:
    match wanted:
        case Compared():
            return _compares(wanted, known.get(wanted.name))
        case Listed():
            value = known.get(wanted.name)
            return any(_is_same(value, listed) for listed in wanted.values) is not wanted.is_none_of
        case Combined():
            each = (_matches(part, known) for part in wanted.filters)
            return all(each) if wanted.how == "and" else any(each)


def _compares(wanted: Compared, value: AttributeValue | None) -> bool:
    if wanted.how == "eq":
        return _is_same(value, wanted.value)
    if wanted.how == "ne":
        return not _is_same(value, wanted.value)
    return _order(value, wanted.value) in _ORDERS[wanted.how]


def _is_same(value: AttributeValue | None, other: AttributeValue) -> bool:
    if isinstance(value, bool) or isinstance(other, bool):
        # To Python true is the number 1.
        return value is other
    return _order(value, other) == 0


def _order(value: AttributeValue | None, other: AttributeValue) -> int | None:
    """Whether a value comes before another (-1), with it (0), or behind it (1); None: they do not compare."""
    if isinstance(value, bool) or isinstance(other, bool):
        return None
    if isinstance(value, str):
        return (value > other) - (value < other) if isinstance(other, str) else None
    if value is None or isinstance(other, str):
        return None
    return (value > other) - (value < other)
