"""The catalogue as a whole: what every event and message has in common."""

import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from streams.events import CATALOGUE, AnyEvent, Event, TaskAccepted
from streams.messages import ALL_MESSAGES, Wire

EVENTS_PAGE = Path(__file__).parents[2] / "docs/events.md"
EVERYTHING = (*CATALOGUE, *ALL_MESSAGES)


def tag_of(kind: type[Any]) -> str:
    tag = kind.__struct_config__.tag
    assert isinstance(tag, str)
    return tag


def test_catalogue_holds_every_event_there_is() -> None:
    assert set(CATALOGUE) == set(Event.__subclasses__()) == set(get_args(AnyEvent))
    assert set(ALL_MESSAGES) == set(Wire.__subclasses__())


def test_tags_are_unique_over_events_and_messages() -> None:
    assert len({tag_of(kind) for kind in EVERYTHING}) == len(EVERYTHING)


@pytest.mark.parametrize("kind", EVERYTHING)
def test_tag_names_what_it_is_and_its_version(kind: type[Any]) -> None:
    assert re.fullmatch(r"([a-z]+\.)?[a-z_]+\.v[1-9][0-9]*", tag_of(kind))


@pytest.mark.parametrize("kind", CATALOGUE)
def test_event_is_named_like_its_tag(kind: type[Any]) -> None:
    noun, what, _version = tag_of(kind).split(".")
    assert kind.__name__ == noun.title() + what.title().replace("_", "")


@pytest.mark.parametrize("kind", EVERYTHING)
def test_every_kind_is_frozen_keyword_only_and_explained(kind: type[Any]) -> None:
    config = kind.__struct_config__
    assert config.frozen
    assert config.omit_defaults
    assert kind.__doc__
    with pytest.raises(TypeError, match="positional"):
        kind("first")


@pytest.mark.parametrize("kind", EVERYTHING)
def test_unknown_fields_are_let_through_so_that_newer_writers_can_add_some(kind: type[Any]) -> None:
    assert not kind.__struct_config__.forbid_unknown_fields


def test_an_event_cannot_be_changed() -> None:
    event = TaskAccepted(n=1, at_ms=0)
    with pytest.raises(AttributeError, match="immutable"):
        event.n = 2  # pyright: ignore[reportAttributeAccessIssue]  # that this is refused is the point
    assert msgspec.structs.asdict(event) == {"n": 1, "at_ms": 0}


def test_the_page_for_people_names_every_event_and_message_and_no_other() -> None:
    named = set(re.findall(r"`([a-z_.]+\.v[0-9]+)`", EVENTS_PAGE.read_text()))
    assert named == {tag_of(kind) for kind in EVERYTHING}
