"""What was found in files for a task, before it was asked: part of the task, so that any gateway shows the same.

The passages that the model reads stand in front of the text of one of the task's messages. What else is said
here is for whoever shows the answer: which passages these are, where they come from, and how many characters are not
the user's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta, Struct
from msgspec.structs import replace

from streams.stores.messages import MOST_FOUND, FoundPassage, Ranking
from streams.tasks.chat import Count, TextPart

if TYPE_CHECKING:
    from streams.tasks.chat import Message

MOST_STORES: Final = 16
"""That one request may search."""
MOST_ROUNDS: Final = 4
"""How often one request may search them."""

_Share = Annotated[float, Meta(ge=0, le=1)]


class FileSearch(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a request says of searching, as it said it."""

    stores: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=64)], ...], Meta(min_length=1, max_length=16)]
    limit: Annotated[int, Meta(ge=1, le=MOST_FOUND)] = 10
    filter_json: Annotated[str, Meta(max_length=65_536)] = ""
    """What attributes of the files were asked for, as the client wrote it; empty: none."""
    ranking: Ranking = "auto"
    threshold: _Share = 0.0
    shows_results: bool = False
    """Whether the answer names all that was found, with its text."""


class Source(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A passage that was found."""

    found: FoundPassage
    number: Annotated[int, Meta(ge=1, le=MOST_FOUND)] | None = None
    """Under which the model read it; None: there was no room for it."""


class Searched(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One search of a request, and what it has found, the best first."""

    query: str
    sources: Annotated[tuple[Source, ...], Meta(max_length=MOST_FOUND)] = ()


class Grounding(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a task's answer can rest on."""

    search: FileSearch
    query: str
    sources: Annotated[tuple[Source, ...], Meta(max_length=MOST_FOUND)] = ()
    """The best first."""
    message: Annotated[int, Meta(ge=0, le=4096)]
    """In front of which of the task's messages the passages stand, from 0."""
    chars: Count
    """How many characters of its text are not the user's own."""
    again: Annotated[tuple[Searched, ...], Meta(max_length=MOST_ROUNDS - 1)] = ()
    """What the model has asked to search for besides, in its order, before it answered."""

    @property
    def searches(self) -> tuple[Searched, ...]:
        """All searches in their order."""
        return (Searched(query=self.query, sources=self.sources), *self.again)

    @property
    def read(self) -> tuple[Source, ...]:
        """What the model has read, in the order of the numbers."""
        found = (source for searched in self.searches for source in searched.sources)
        # What several searches have found has the same number in each.
        numbered = {source.number: source for source in found if source.number is not None}
        return tuple([numbered[number] for number in sorted(numbered)])


def put_before(messages: tuple[Message, ...], at: int, text: str) -> tuple[Message, ...]:
    """Put a text in front of what one of the messages says."""
    message = messages[at]
    parts = (TextPart(text=text), *message.parts) if message.parts else ()
    return (*messages[:at], replace(message, content=text + message.content, parts=parts), *messages[at + 1 :])


def own_messages(messages: tuple[Message, ...], grounding: Grounding | None) -> tuple[Message, ...]:
    """The messages of a task as its user has sent them."""
    if grounding is None or grounding.message >= len(messages):
        return messages
    at, message = grounding.message, messages[grounding.message]
    own = replace(message, content=message.content[grounding.chars :], parts=message.parts[1:])
    return (*messages[:at], own, *messages[at + 1 :])
