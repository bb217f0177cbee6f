"""An answer with calls that is written anew elsewhere: no gap, no repeat, wherever it was cut; or a clear no."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from nodes.attempts.continuation import Replay
from nodes.engine import Piece
from nodes.errors import CannotContinue
from streams.messages import Assign
from streams.tasks.answer_parts import LikelyToken, TokenLogprob, ToolCallPiece, chars_in, joined_calls
from streams.tasks.chat import Message, Sampling, Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

TEXTS = st.text(alphabet="ab{}🌊", max_size=8)
CALLS = st.lists(st.tuples(st.sampled_from(["f", "g"]), TEXTS), max_size=3)


def assigned(prefix: str = "", calls: tuple[ToolCallPiece, ...] = (), tokens: int = 0) -> Assign:
    return Assign(
        account="local",
        task="t",
        attempt=2,
        next_n=1,
        last_sequence=0,
        model="m",
        messages=(Message(role="user", content="hi"),),
        sampling=Sampling(),
        dispatcher="d",
        prefix=prefix,
        prefix_calls=calls,
        prefix_tokens=tokens,
        seam="replayed",
    )


def cut(text: str, places: Sequence[int]) -> list[str]:
    bounds = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[begin:end] for begin, end in pairwise(bounds)]


def written(text: str, calls: Sequence[tuple[str, str]], places: Sequence[int], mark: str) -> list[Piece]:
    """An engine's pieces of an answer, parted at any places; each engine makes ids of its own."""
    pieces = [Piece(text=part) for part in cut(text, places)]
    for index, (name, arguments) in enumerate(calls):
        first, *rest = cut(arguments, places)
        pieces.append(one_call(ToolCallPiece(index=index, id=f"{mark}{index}", name=name, arguments=first)))
        pieces += [one_call(ToolCallPiece(index=index, arguments=part)) for part in rest]
    usage = Usage(prompt_tokens=1, completion_tokens=len(pieces))
    return [*pieces, Piece(text="", tokens=0, finish_reason="tool_calls" if calls else "stop", usage=usage)]


def one_call(call: ToolCallPiece) -> Piece:
    return Piece(text="", tool_calls=(call,))


def text_of(pieces: Sequence[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def calls_of(pieces: Sequence[Piece]) -> tuple[ToolCallPiece, ...]:
    return joined_calls(call for piece in pieces for call in piece.tool_calls)


@given(TEXTS, CALLS, st.lists(st.integers(0, 8), max_size=3), st.lists(st.integers(0, 8), max_size=3), st.integers(0))
def test_what_was_published_and_what_comes_anew_make_the_answer_once(
    text: str, calls: list[tuple[str, str]], places: list[int], other_places: list[int], stop_at: int
) -> None:
    first = written(text, calls, places, "first")
    published = first[: stop_at % len(first)]
    replay = Replay(assigned(text_of(published), calls_of(published), len(published)))
    new = [fit for piece in written(text, calls, other_places, "second") if (fit := replay.fit(piece)) is not None]
    both = [*published, *new]
    assert text_of(both) == text
    assert [(call.name, call.arguments) for call in calls_of(both)] == calls
    # Who has a call already knows it by the id that it was published with.
    begun = len(calls_of(published))
    assert [str(call.id) for call in calls_of(both)] == [
        f"{'first' if index < begun else 'second'}{index}" for index in range(len(calls))
    ]
    assert sum(piece.tokens for piece in both) == new[-1].usage.completion_tokens  # type: ignore[union-attr]  # the last has one
    assert all(chars_in(piece.text, piece.tool_calls) for piece in new[:-1] if not piece.tool_calls)


PUBLISHED = (
    ToolCallPiece(index=0, id="a", name="f", arguments='{"x":1}'),
    ToolCallPiece(index=1, id="b", name="g", arguments='{"y'),
)


@pytest.mark.parametrize(
    ("pieces", "why"),
    [
        ([ToolCallPiece(index=0, id="c", name="g")], "call 0 is of another function"),
        ([ToolCallPiece(index=0, id="c", name="f", arguments='{"z":1}')], "call 0 differs at character 2"),
        ([ToolCallPiece(index=0, name="f", arguments='{"x'), ToolCallPiece(index=0, arguments='":2}')], "character 5"),
        ([ToolCallPiece(index=0, name="f", arguments='{"x":1}'), ToolCallPiece(index=2, name="f")], "no call 1"),
        ([ToolCallPiece(index=0, name="f", arguments='{"x":1}'), ToolCallPiece(index=1, name="g")], "character 0 of 3"),
    ],
)
def test_another_answer_is_refused_where_it_differs(pieces: list[ToolCallPiece], why: str) -> None:
    replay = Replay(assigned(calls=PUBLISHED))
    end = Piece(text="", finish_reason="tool_calls", usage=Usage(prompt_tokens=1, completion_tokens=1))
    with pytest.raises(CannotContinue, match=why):
        [replay.fit(piece) for piece in (*map(one_call, pieces), end)]


def test_a_call_before_all_published_text_came_again_is_another_answer() -> None:
    replay = Replay(assigned("So I look", PUBLISHED[:0]))
    replay.fit(Piece(text="So"))
    with pytest.raises(CannotContinue, match="character 2 of 9"):
        replay.fit(one_call(PUBLISHED[0]))


def test_logprobs_of_what_is_published_are_not_said_again() -> None:
    likely = LikelyToken(token="x", logprob=-2.0)
    places = tuple(
        TokenLogprob(token=token, logprob=-1.0, raw=raw, top=(likely,))
        for token, raw in (("on", None), ("e ", None), ("\ufffd", b"\xf0\x9f"), ("\ufffd", b"\x8c\x8a"), ("two", None))
    )
    replay = Replay(assigned("one "))
    first = replay.fit(Piece(text="o", logprobs=places[:1]))
    assert first is None
    second = replay.fit(Piece(text="ne 🌊two", tokens=4, logprobs=places[1:]))
    assert second is not None
    assert (second.text, second.logprobs) == ("🌊two", places[2:])
    whole = Replay(assigned("one 🌊two"))
    last = Piece(
        text="one 🌊two", logprobs=places, finish_reason="stop", usage=Usage(prompt_tokens=1, completion_tokens=5)
    )
    assert whole.fit(last) == replace(last, text="", logprobs=(), usage=Usage(prompt_tokens=1, completion_tokens=1))
