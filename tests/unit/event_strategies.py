"""Hypothesis strategies for any struct of the catalogue, built from its type so that no field is forgotten."""

from functools import cache
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import Raw
from msgspec import inspect as mi

# All that UTF-8 can carry: lone surrogates have no place on the wire.
TEXT = st.characters(codec="utf-8")

_MSGPACK_INT = (-(2**63), 2**64 - 1)
_LONGEST_TEXT = 20
_LONGEST_ARRAY = 3


@cache
def structs(kind: type[Any]) -> st.SearchStrategy[Any]:
    """Values of a struct: required fields always, the others sometimes."""
    info = mi.type_info(kind)
    assert isinstance(info, mi.StructType)
    return _struct(info)


def _of(kind: mi.Type) -> st.SearchStrategy[Any]:
    match kind:
        case mi.StructType():
            # Not at once: a struct may hold others of its own kind.
            return st.deferred(lambda: structs(kind.cls))
        case mi.UnionType():
            return st.one_of(*map(_of, kind.types))
        case mi.VarTupleType():
            items = st.lists(_of(kind.item_type), min_size=kind.min_length or 0, max_size=_LONGEST_ARRAY)
            return items.map(tuple)
        case _:
            return _scalar(kind)


def _scalar(kind: mi.Type) -> st.SearchStrategy[Any]:
    match kind:
        case mi.IntType():
            lowest, highest = _MSGPACK_INT
            return st.integers(lowest if kind.ge is None else kind.ge, highest if kind.le is None else kind.le)
        case mi.FloatType():
            lowest = kind.gt if kind.ge is None else kind.ge
            exclude_min = kind.gt is not None
            return st.floats(lowest, kind.le, exclude_min=exclude_min, allow_nan=False, allow_infinity=False)
        case mi.StrType() if kind.pattern is not None:
            return st.from_regex(kind.pattern, fullmatch=True)
        case mi.BytesType():
            return st.binary(min_size=kind.min_length or 0, max_size=_LONGEST_TEXT)
        case mi.StrType():
            longest = _LONGEST_TEXT if kind.max_length is None else min(kind.max_length, _LONGEST_TEXT)
            return st.text(TEXT, min_size=kind.min_length or 0, max_size=longest)
        case mi.LiteralType():
            return st.sampled_from(kind.values)
        case mi.BoolType():
            return st.booleans()
        case mi.NoneType():
            return st.none()
        case mi.RawType():
            return st.text(TEXT).map(msgspec.msgpack.encode).map(Raw)
    raise AssertionError(f"the catalogue has learned a type that this builder does not know: {kind}")


def _struct(kind: mi.StructType) -> st.SearchStrategy[Any]:
    fields = {field.name: _of(field.type) for field in kind.fields}
    required = {field.name: fields.pop(field.name) for field in kind.fields if field.required}
    return st.fixed_dictionaries(required, optional=fields).map(lambda values: kind.cls(**values))
