"""Between engine and stream: what gathers, what waits, and in which order errors come."""

import asyncio
from contextlib import suppress

import pytest

from nodes.attempts.outbox import Batch, Outbox
from nodes.engine import Piece
from nodes.errors import EngineError
from streams.tasks.answer_parts import LikelyToken, TokenLogprob, ToolCallPiece
from streams.tasks.chat import Usage

USAGE = Usage(prompt_tokens=1, completion_tokens=3)


async def waits(work: "asyncio.Task[object]") -> bool:
    """Whether it still waits after every chance to go on."""
    for _ in range(10):
        await asyncio.sleep(0)
    return not work.done()


async def test_what_gathered_is_taken_as_one() -> None:
    outbox = Outbox()
    for text in ("a", "b", "c"):
        outbox.put(Piece(text=text, tokens=2))
    assert await outbox.take() == Batch("abc", 6)
    outbox.put(Piece(text="d"))
    assert await outbox.take() == Batch("d", 1)


async def test_the_first_piece_does_not_wait_for_a_second() -> None:
    outbox = Outbox()
    taking = asyncio.create_task(outbox.take())
    assert await waits(taking)
    outbox.put(Piece(text="a"))
    assert await taking == Batch("a", 1)


async def test_the_last_piece_brings_reason_and_usage_even_without_text() -> None:
    outbox = Outbox()
    outbox.put(Piece(text="", tokens=0, finish_reason="stop", usage=USAGE))
    assert await outbox.take() == Batch("", 0, "stop", USAGE)


async def test_a_token_without_a_whole_character_counts_with_the_next_one() -> None:
    outbox = Outbox()
    taking = asyncio.create_task(outbox.take())
    outbox.put(Piece(text=""))
    assert await waits(taking)
    outbox.put(Piece(text="🌊"))
    assert await taking == Batch("🌊", 2)


async def test_an_error_comes_after_what_was_said_before_it() -> None:
    outbox = Outbox()
    outbox.put(Piece(text="so far"))
    outbox.fail(EngineError("broken"))
    assert await outbox.take() == Batch("so far", 1)
    with pytest.raises(EngineError, match="broken"):
        await outbox.take()


async def test_an_error_wakes_who_waits_for_a_piece() -> None:
    outbox = Outbox()
    taking = asyncio.create_task(outbox.take())
    assert await waits(taking)
    outbox.fail(EngineError("broken"))
    with pytest.raises(EngineError, match="broken"):
        await taking


async def test_a_full_outbox_gives_room_once_it_is_emptied() -> None:
    outbox = Outbox(limit_chars=4)
    outbox.put(Piece(text="abc"))
    assert not outbox.is_full
    await outbox.room()
    outbox.put(Piece(text="d"))
    assert outbox.is_full
    room = asyncio.create_task(outbox.room())
    assert await waits(room)
    await outbox.take()
    await room


async def test_a_taker_that_gave_up_does_not_lose_a_piece() -> None:
    outbox = Outbox()
    taking = asyncio.create_task(outbox.take())
    assert await waits(taking)
    taking.cancel()
    with suppress(asyncio.CancelledError):
        await taking
    outbox.put(Piece(text="kept"))
    assert await outbox.take() == Batch("kept", 1)


async def test_pieces_of_a_call_become_one_and_a_name_waits_for_the_first_of_its_arguments() -> None:
    outbox = Outbox()
    taking = asyncio.create_task(outbox.take())
    outbox.put(Piece(text="", tool_calls=(ToolCallPiece(index=0, id="a", name="f"),)))
    assert await waits(taking)
    outbox.put(Piece(text="", tool_calls=(ToolCallPiece(index=0, arguments='{"x":'),)))
    outbox.put(Piece(text="", tool_calls=(ToolCallPiece(index=0, arguments="1}"),)))
    outbox.put(Piece(text="", tool_calls=(ToolCallPiece(index=1, id="b", name="g", arguments="{}"),)))
    first = ToolCallPiece(index=0, id="a", name="f", arguments='{"x":1}')
    second = ToolCallPiece(index=1, id="b", name="g", arguments="{}")
    batch = await taking
    assert batch == Batch("", 4, tool_calls=(first, second))
    assert batch.chars == 9


async def test_logprobs_fill_an_outbox_long_before_the_text_would() -> None:
    outbox = Outbox(limit_chars=100)
    place = TokenLogprob(token="a", logprob=-1.0, top=(LikelyToken(token="b", logprob=-2.0),) * 2)
    outbox.put(Piece(text="", logprobs=(place,)))
    outbox.put(Piece(text="", logprobs=(place,)))
    assert not outbox.is_full, "what makes no chunk must not wait for one to be taken"
    outbox.put(Piece(text="a"))
    assert outbox.is_full
    assert await outbox.take() == Batch("a", 3, logprobs=(place, place))
    assert not outbox.is_full


async def test_the_size_of_the_prompt_is_told_once() -> None:
    outbox = Outbox()
    outbox.put(Piece(text="a", prompt_tokens=31))
    outbox.put(Piece(text="b"))
    assert (await outbox.take()).prompt_tokens == 31
    outbox.put(Piece(text="c"))
    assert (await outbox.take()).prompt_tokens is None
