"""Calls as servers write them, made one of our own form: numbered from 0 without holes, each named once."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from nodes.errors import EngineError
from streams.tasks.answer_parts import ToolCallPiece

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MOST_CALLS: Final = 128
_LONGEST: Final = 64


class WireFunction(Struct, frozen=True):
    """What of a call a chunk has."""

    name: str | None = None
    arguments: str | None = None


class WireCall(Struct, frozen=True):
    """A call, or what it has grown by; some servers give no number, some say name and id in every chunk."""

    index: int | None = None
    id: str | None = None
    function: WireFunction = WireFunction()


class CallNumbers:
    """The calls of one answer, in the order in which they begin."""

    def __init__(self) -> None:
        """Begin with none."""
        self._numbers: dict[int | str, int] = {}
        self._latest: int | str = 0

    @property
    def count(self) -> int:
        """How many have begun."""
        return len(self._numbers)

    def read(self, calls: Iterable[WireCall]) -> tuple[ToolCallPiece, ...]:
        """Make our pieces.

        Raises:
            EngineError: a call has no name, or there are too many.
        """
        return tuple(self._read(calls))

    def _read(self, calls: Iterable[WireCall]) -> Iterator[ToolCallPiece]:
        for call in calls:
            key = call.index if call.index is not None else call.id or self._latest
            self._latest = key
            said = call.function
            if key in self._numbers:
                if said.arguments:
                    yield ToolCallPiece(index=self._numbers[key], arguments=said.arguments)
                continue
            if not said.name or len(said.name) > _LONGEST or len(self._numbers) >= _MOST_CALLS:
                raise EngineError("the server calls a function without a name, or more of them than there can be")
            number = self._numbers[key] = len(self._numbers)
            named = call.id if call.id and len(call.id) <= _LONGEST else f"call_{secrets.token_hex(12)}"
            yield ToolCallPiece(index=number, id=named, name=said.name, arguments=said.arguments or "")
