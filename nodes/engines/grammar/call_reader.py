"""Reads calls out of what a model writes under our grammar, as they come."""

from __future__ import annotations

import secrets
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

from nodes.engines.grammar.call_form import ARGUMENTS, BEGIN, NAME
from streams.tasks.answer_parts import ToolCallPiece

if TYPE_CHECKING:
    from nodes.engines.llama.plain_text import Mended


class Read(NamedTuple):
    """What new text adds to an answer."""

    text: str
    calls: tuple[ToolCallPiece, ...] = ()


class _State(Enum):
    TEXT = auto()
    HEAD = auto()
    ARGUMENTS = auto()
    TAIL = auto()


class CallReader:
    """Parts text from calls. It relies on the grammar: the form is ours to the letter."""

    def __init__(self, mended: Mended) -> None:
        """Pass arguments through ``mended``, as text is elsewhere."""
        self._mended = mended
        self._state = _State.TEXT
        self._held = ""
        self._index = -1
        self._depth = 0
        self._in_string = self._escaped = False

    @property
    def has_called(self) -> bool:
        """Whether a call has begun."""
        return self._index >= 0

    def push(self, text: str) -> Read:
        """Take what the model has written next."""
        self._held += text
        shown = ""
        calls: list[ToolCallPiece] = []
        goes_on = True
        while goes_on:
            match self._state:
                case _State.TEXT:
                    new, goes_on = self._text()
                    shown += new
                case _State.HEAD:
                    goes_on = self._head(calls)
                case _State.ARGUMENTS:
                    goes_on = self._arguments(calls)
                case _State.TAIL:
                    goes_on = self._call_begins()
        return Read(shown, tuple(calls))

    def rest(self) -> str:
        """Return text that was held back, when no more will come."""
        shown, self._held = self._held if self._state is _State.TEXT else "", ""
        return shown

    def _text(self) -> tuple[str, bool]:
        """What is text for sure, and whether a call begins behind it."""
        before, _, _ = self._held.partition(BEGIN)
        if self._call_begins():
            return before, True
        keep = next((n for n in range(len(BEGIN) - 1, 0, -1) if self._held.endswith(BEGIN[:n])), 0)
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return shown, False

    def _call_begins(self) -> bool:
        _, begin, behind = self._held.partition(BEGIN)
        if begin:
            self._held, self._state = behind, _State.HEAD
        return bool(begin)

    def _head(self, calls: list[ToolCallPiece]) -> bool:
        head, end, behind = self._held.partition(ARGUMENTS)
        if not end:
            return False
        self._index += 1
        name = head.removeprefix(NAME)
        calls.append(ToolCallPiece(index=self._index, id=f"call_{secrets.token_hex(12)}", name=name))
        self._held, self._state = behind, _State.ARGUMENTS
        return True

    def _arguments(self, calls: list[ToolCallPiece]) -> bool:
        end, is_whole = self._end_of_object()
        new, self._held = self._mended.push(self._held[:end]), self._held[end:]
        if new:
            calls.append(ToolCallPiece(index=self._index, arguments=new))
        if is_whole:
            self._state = _State.TAIL
        return is_whole

    def _end_of_object(self) -> tuple[int, bool]:
        """How much of what is held is arguments, and whether they are whole with that."""
        for at, char in enumerate(self._held):
            if self._escaped:
                self._escaped = False
            elif char == "\\":
                self._escaped = self._in_string
            elif char == '"':
                self._in_string = not self._in_string
            elif not self._in_string and char in "{[":
                self._depth += 1
            elif not self._in_string and char in "}]":
                self._depth -= 1
                if self._depth == 0:
                    return at + 1, True
        return len(self._held), False
