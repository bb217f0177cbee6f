"""JSON schemas of the plain kind, as tools and formats have them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Schema = dict[str, Any]

_NAMES = st.sampled_from(["a", "b", "name", "größe", "with space", 'quo"te', "back\\slash"])
_SCALARS = st.one_of(
    st.just({"type": "string"}),
    st.just({"type": "integer"}),
    st.just({"type": "number"}),
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.builds(
        lambda low, more: {"type": "string", "minLength": low, "maxLength": low + more}, *[st.integers(0, 4)] * 2
    ),
    st.builds(
        lambda low, more: {"type": "integer", "minimum": low, "maximum": low + more},
        st.integers(-120, 1200),
        st.integers(0, 99),
    ),
    st.builds(lambda values: {"enum": values}, st.lists(st.sampled_from(["x", "y", 1, None, True, "ü"]), min_size=1)),
    st.builds(lambda value: {"const": value}, st.sampled_from(["x", 'y"', 7, False])),
)


def _objects(inside: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    return st.builds(_object, st.dictionaries(_NAMES, inside, max_size=3), st.booleans())


def _object(properties: dict[str, Schema], all_required: bool) -> Schema:
    required = list(properties) if all_required else list(properties)[:1]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _arrays(inside: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    return st.builds(
        lambda items, low, more: {"type": "array", "items": items, "minItems": low, "maxItems": low + more},
        inside,
        st.integers(0, 2),
        st.integers(0, 2),
    )


def schemas() -> st.SearchStrategy[Schema]:
    """Objects, whose parts may be anything."""
    parts = st.recursive(
        _SCALARS,
        lambda inside: st.one_of(
            _objects(inside),
            _arrays(inside),
            st.builds(lambda options: {"anyOf": options}, st.lists(inside, min_size=1, max_size=3)),
        ),
        max_leaves=6,
    )
    return _objects(parts)
