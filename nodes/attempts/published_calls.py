"""Calls of which a part is published already, while the answer that holds them is written anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodes.errors import CannotContinue
from streams.tasks.answer_parts import ToolCallPiece

if TYPE_CHECKING:
    from collections.abc import Iterator


class PublishedCalls:
    """Compares what comes with what is published, and passes on only what is past it.

    A call keeps the id that it was published with: an engine makes another one each time.
    """

    def __init__(self, published: tuple[ToolCallPiece, ...]) -> None:
        """Take one piece for each call that is begun, the last of them perhaps not whole."""
        self._published = {call.index: call for call in published}
        self._came: dict[int, int] = {}
        """How much of each call's arguments has come again."""

    def past_published(self, pieces: tuple[ToolCallPiece, ...]) -> tuple[ToolCallPiece, ...]:
        """Return what of new pieces no reader has seen.

        Raises:
            CannotContinue: the engine calls something else this time.
        """
        return tuple(self._new(pieces)) if self._published else pieces

    def check_all_came(self) -> None:
        """Check that nothing published is missing.

        Raises:
            CannotContinue: it ends too early.
        """
        for index, call in self._published.items():
            came = self._came.get(index)
            if came is None:
                raise CannotContinue(f"written anew, the answer has no call {index}")
            if came < len(call.arguments):
                where = f"{came} of {len(call.arguments)}"
                raise CannotContinue(f"written anew, call {index} ends at character {where} of its arguments")

    def _new(self, pieces: tuple[ToolCallPiece, ...]) -> Iterator[ToolCallPiece]:
        for piece in pieces:
            published = self._published.get(piece.index)
            if published is None:
                self.check_all_came()
                yield piece
            elif arguments := self._new_arguments(piece, published):
                yield ToolCallPiece(index=piece.index, arguments=arguments)

    def _new_arguments(self, piece: ToolCallPiece, published: ToolCallPiece) -> str:
        if piece.name is not None and piece.name != published.name:
            raise CannotContinue(f"written anew, call {piece.index} is of another function")
        begin = self._came.get(piece.index, 0)
        expected = published.arguments[begin : begin + len(piece.arguments)]
        if not piece.arguments.startswith(expected):
            same = next(i for i, (a, b) in enumerate(zip(piece.arguments, expected, strict=False)) if a != b)
            raise CannotContinue(f"written anew, call {piece.index} differs at character {begin + same}")
        self._came[piece.index] = begin + len(expected)
        return piece.arguments[len(expected) :]
