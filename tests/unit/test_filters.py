"""Which files a search may look at, by their attributes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.retrieval.filters import matches
from streams.stores.events import Attribute, AttributeValue
from streams.stores.messages import Combined, Compared, Comparing, Filter, Listed

FILE = (
    Attribute(name="team", value="sales"),
    Attribute(name="year", value=2024.0),
    Attribute(name="final", value=True),
    Attribute(name="pages", value=1.0),
)


def compared(how: Comparing, name: str, value: AttributeValue) -> Compared:
    return Compared(how=how, name=name, value=value)


@pytest.mark.parametrize(
    ("wanted", "is_match"),
    [
        (compared("eq", "team", "sales"), True),
        (compared("eq", "team", "Sales"), False),
        (compared("ne", "team", "sales"), False),
        (compared("ne", "team", "legal"), True),
        (compared("gt", "year", 2023.0), True),
        (compared("gt", "year", 2024.0), False),
        (compared("gte", "year", 2024.0), True),
        (compared("lt", "year", 2024.5), True),
        (compared("lte", "year", 2023.0), False),
        (compared("gt", "team", "marketing"), True),
        (compared("lt", "team", "marketing"), False),
        # Not there, or of another kind.
        (compared("eq", "city", "Rome"), False),
        (compared("ne", "city", "Rome"), True),
        (compared("lt", "city", "Rome"), False),
        (compared("eq", "year", "2024"), False),
        (compared("ne", "year", "2024"), True),
        (compared("gte", "year", "2024"), False),
        (compared("eq", "pages", True), False),
        (compared("eq", "final", 1.0), False),
        (compared("eq", "final", True), True),
        (compared("gte", "final", True), False),
        (Listed(name="team", values=("legal", "sales")), True),
        (Listed(name="team", values=("legal",)), False),
        (Listed(name="year", values=(2023.0, 2024.0)), True),
        (Listed(name="year", values=("2024",)), False),
        (Listed(name="city", values=("Rome",)), False),
        (Listed(name="city", values=("Rome",), is_none_of=True), True),
        (Listed(name="team", values=("sales",), is_none_of=True), False),
        (Combined(how="and", filters=(compared("eq", "team", "sales"), compared("gt", "year", 2030.0))), False),
        (Combined(how="or", filters=(compared("eq", "team", "sales"), compared("gt", "year", 2030.0))), True),
        (Combined(how="and", filters=()), True),
        (Combined(how="or", filters=()), False),
    ],
)
def test_a_file_is_wanted_or_not(wanted: Filter, is_match: bool) -> None:
    assert matches(wanted, FILE) is is_match


VALUES = st.one_of(st.text(max_size=3), st.floats(allow_nan=False), st.booleans())


@given(st.lists(VALUES, max_size=1), VALUES)
def test_like_and_unlike_are_opposites_and_orders_fit_together(
    known: list[AttributeValue], value: AttributeValue
) -> None:
    file = tuple(Attribute(name="x", value=one) for one in known)
    is_true = {how: matches(compared(how, "x", value), file) for how in ("eq", "ne", "gt", "gte", "lt", "lte")}

    assert is_true["eq"] is not is_true["ne"]
    assert is_true["gt"] + is_true["lt"] + is_true["eq"] <= 1
    if not isinstance(value, bool):
        assert is_true["gte"] is (is_true["gt"] or is_true["eq"])
        assert is_true["lte"] is (is_true["lt"] or is_true["eq"])
