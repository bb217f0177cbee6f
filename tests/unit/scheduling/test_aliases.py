"""Names that stand for several models."""

import pytest

from gateway.dispatcher.settings import DispatcherSettings
from gateway.scheduling.aliases import Alias, aliases_of, parse_aliases
from gateway.scheduling.wish import Level, Wish
from tests.unit.scheduling.fleets import node, scheduler

AUTO = Alias("auto", ("small", "middle", "large"))
CHAIN = Alias("small", ("a", "b"))


def placed(alias: Alias, level: Level, *models: str, busy: str = "", begun_with: str | None = None) -> str:
    mesh = scheduler(*(node(f"n-{model}", model=model, slots=1) for model in models))
    if busy:
        for seat in mesh.fleet.seats_of(f"n-{busy}"):
            seat.draining = True
    wish = Wish(
        model=alias.name, models=alias.models, losses_s=alias.losses_s(level, begun_with=begun_with), answer_tokens=10
    )
    return mesh.place(wish, now_s=1).model


@pytest.mark.parametrize(("level", "model"), [("simple", "small"), ("moderate", "middle"), ("hard", "large")])
def test_auto_takes_the_model_that_fits_the_request(level: Level, model: str):
    assert placed(AUTO, level, "small", "middle", "large") == model


@pytest.mark.parametrize(
    ("level", "left", "model"),
    [
        ("hard", ("small", "middle"), "middle"),
        ("moderate", ("small", "large"), "large"),
        ("simple", ("middle", "large"), "middle"),
        ("hard", ("small",), "small"),
        ("simple", ("large",), "large"),
    ],
)
def test_where_that_one_is_not_there_auto_takes_the_next_rather_a_larger_one(
    level: Level, left: tuple[str, ...], model: str
):
    assert placed(AUTO, level, *left) == model


@pytest.mark.parametrize("level", ["simple", "moderate", "hard"])
def test_a_chain_falls_back_only_where_those_before_cannot_have_the_task(level: Level):
    assert placed(CHAIN, level, "a", "b") == "a"
    assert placed(CHAIN, level, "a", "b", busy="a") == "b"
    assert placed(CHAIN, level, "b") == "b"


def test_an_answer_that_is_begun_goes_on_with_its_model_wherever_there_is_one():
    assert placed(AUTO, "hard", "small", "middle", "large", begun_with="small") == "small"
    assert placed(AUTO, "hard", "middle", "large", begun_with="small") != ""
    assert placed(CHAIN, "simple", "a", "b", begun_with="b") == "b"


def test_settings_are_read_and_turned_round():
    aliases = parse_aliases(["auto=small,large", "tiny=small"])
    assert aliases == {"auto": Alias("auto", ("small", "large")), "tiny": Alias("tiny", ("small",))}
    assert aliases_of(aliases) == {"small": ("auto", "tiny"), "large": ("auto",)}
    assert DispatcherSettings(aliases=("auto=small,large",)).alias_table["auto"].models == ("small", "large")


@pytest.mark.parametrize(
    "entries",
    [
        ["auto"],
        ["=a"],
        ["auto="],
        ["auto=a,,b"],
        ["auto=a,a"],
        ["auto=a", "auto=b"],
        ["auto=small", "small=a"],
        ["auto=auto"],
        ["auto=" + "x" * 257],
        ["auto=" + ",".join(f"m{number}" for number in range(17))],
    ],
)
def test_what_is_no_alias_is_refused_when_settings_are_read(entries: list[str]):
    with pytest.raises(ValueError, match=r"alias|NAME=MODEL|given once"):
        parse_aliases(entries)
