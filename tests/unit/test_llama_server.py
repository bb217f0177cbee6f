"""The dialect of llama-server: what may reach it, and how its chunks become pieces."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from nodes.engines.conversation import Conversation
from nodes.engines.lanes import PieceSink
from nodes.engines.llama.request import LlamaRequest
from nodes.engines.llama.server_dialect import AnswerReader, chat_body
from nodes.errors import EngineError, RequestRefused
from streams.tasks.answer_parts import LikelyToken, TokenLogprob, joined_calls
from streams.tasks.chat import Message, Sampling, TokenBias, Usage

if TYPE_CHECKING:
    from nodes.engine import Piece

CONVERSATION = Conversation(turns=(Message(role="user", content="hi", name="n"),), begun="")
FIXED = {
    "stream": True,
    "stream_options": {"include_usage": True},
    "timings_per_token": True,
    "return_progress": True,
    "cache_prompt": False,
}


def body(sampling: Sampling, *, conversation: Conversation = CONVERSATION, grammar: str | None = None) -> Any:
    return json.loads(chat_body(LlamaRequest(conversation=conversation, sampling=sampling, grammar=grammar)))


def delta(text: str, tokens: int, logprobs: list[dict[str, object]] | None = None) -> bytes:
    choice: dict[str, object] = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    if logprobs is not None:
        choice["logprobs"] = {"content": logprobs}
    return json.dumps({"choices": [choice], "timings": {"prompt_n": 9, "predicted_n": tokens}}).encode()


def end(reason: str, tokens: int) -> list[bytes]:
    finish = {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
    usage = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": tokens}}
    return [json.dumps(finish).encode(), json.dumps(usage).encode()]


async def read(
    chunks: list[bytes], stops: tuple[str, ...] = (), *, top: int | None = None, calls: bool = False
) -> tuple[list[Piece], int]:
    """Feed chunks like the engine does; return the pieces and how many chunks it got rid of."""
    sink = PieceSink()
    sampling = Sampling(stop=stops, top_logprobs=top)
    reader = AnswerReader(sink, LlamaRequest(conversation=CONVERSATION, sampling=sampling, calls=calls))
    taken = next((n for n, chunk in enumerate(chunks, start=1) if reader.take(chunk)), len(chunks))
    reader.check_complete()
    sink.put(None)
    await asyncio.sleep(0)
    pieces: list[Piece] = []
    while piece := await sink.get():
        pieces.append(piece)
    return pieces, taken


def test_only_what_was_asked_for_and_is_allowed_reaches_the_engine() -> None:
    bare = body(Sampling(stop=("x",)))
    assert bare == {"messages": [{"role": "user", "content": "hi"}], **FIXED}
    full = Sampling(
        max_tokens=5, temperature=0, top_p=0.5, seed=7, stop=("x",), presence_penalty=1, frequency_penalty=-1,
        logit_bias=(TokenBias(token=4, bias=-1.5),), top_logprobs=3,
    )  # fmt: skip
    added = {
        "max_tokens": 5, "temperature": 0, "top_p": 0.5, "seed": 7, "presence_penalty": 1, "frequency_penalty": -1,
        "logit_bias": [[4, -1.5]], "logprobs": True, "top_logprobs": 3, "grammar": "root",
    }  # fmt: skip
    assert body(full, grammar="root") == {**bare, **added}


@pytest.mark.parametrize(("top", "asked"), [(0, 1), (1, 1), (20, 20)])
def test_logprobs_without_likely_tokens_are_asked_for_with_one(top: int, asked: int) -> None:
    assert body(Sampling(top_logprobs=top))["top_logprobs"] == asked


def test_a_begun_answer_is_the_last_message() -> None:
    begun = Conversation(turns=CONVERSATION.turns, begun="Once ")
    assert body(Sampling(), conversation=begun)["messages"][-1] == {"role": "assistant", "content": "Once "}


@pytest.mark.parametrize("seed", [-(2**63), -1, 0, 2**32 - 1, 2**63 - 1])
def test_every_seed_fits_and_none_means_random(seed: int) -> None:
    assert 0 <= body(Sampling(seed=seed))["seed"] < 2**32 - 1


async def test_a_character_of_several_tokens_is_one_piece() -> None:
    pieces, _ = await read([delta("a", 1), delta("🦄", 4), *end("length", 5)])
    assert [(piece.text, piece.tokens) for piece in pieces] == [("a", 1), ("🦄", 3), ("", 1)]
    assert pieces[-1].finish_reason == "length"
    assert pieces[-1].usage == Usage(prompt_tokens=9, completion_tokens=5)


async def test_a_stop_string_ends_the_answer_and_the_engines_work() -> None:
    pieces, taken = await read([delta("a E", 1), delta("ND", 2), delta("more", 3), *end("stop", 3)], ("END",))
    assert taken == 2
    assert "".join(piece.text for piece in pieces) == "a "
    assert pieces[-1].finish_reason == "stop"
    assert pieces[-1].usage == Usage(prompt_tokens=9, completion_tokens=2)


async def test_a_reason_this_code_does_not_know_counts_as_the_models_own_end() -> None:
    pieces, _ = await read([delta("a", 1), *end("tool_calls", 2)])
    assert pieces[-1].finish_reason == "stop"


async def test_logprobs_are_read_with_the_bytes_that_text_cannot_say() -> None:
    likely = [
        {"token": "a", "bytes": [97], "logprob": -0.5},
        {"token": "\ufffd", "bytes": [240], "logprob": -2.0},
        {"token": "b", "bytes": [98], "logprob": None},
    ]
    place = {"token": "a", "bytes": [97], "logprob": -0.5, "top_logprobs": likely}
    pieces, _ = await read([delta("a", 1, [place]), *end("stop", 1)], top=3)
    top = (
        LikelyToken(token="a", logprob=-0.5),
        LikelyToken(token="\ufffd", logprob=-2.0, raw=b"\xf0"),
        LikelyToken(token="b", logprob=-9999.0),
    )
    assert [piece.logprobs for piece in pieces] == [(TokenLogprob(token="a", logprob=-0.5, top=top),), ()]
    pieces, _ = await read([delta("a", 1, [place]), *end("stop", 1)], top=0)
    assert pieces[0].logprobs == (TokenLogprob(token="a", logprob=-0.5),)


async def test_a_call_is_read_out_of_the_text_and_its_tokens_have_no_logprobs() -> None:
    place = [{"token": "x", "bytes": [120], "logprob": -0.5}]
    parts = ("So", "<tool_call>", '\n{"name": "f", "arguments": {', '"a": 1}', "}\n</tool_call>")
    chunks = [delta(part, number, place) for number, part in enumerate(parts, start=1)]
    pieces, _ = await read([*chunks, *end("stop", 6)], top=0, calls=True)
    [call] = joined_calls(call for piece in pieces for call in piece.tool_calls)
    assert (call.name, call.arguments) == ("f", '{"a": 1}')
    assert "".join(piece.text for piece in pieces) == "So"
    assert [len(piece.logprobs) for piece in pieces] == [1, 0, 0, 0]
    assert [piece.tokens for piece in pieces] == [1, 2, 1, 2]
    assert pieces[-1].finish_reason == "tool_calls"
    cut, _ = await read([*chunks[:3], *end("length", 4)], calls=True)
    assert cut[-1].finish_reason == "length"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": 400, "type": "exceed_context_size_error", "n_prompt_tokens": 9, "n_ctx": 8}, RequestRefused),
        ({"code": 400, "message": "bad"}, RequestRefused),
        ({"code": 500, "message": "decode failed"}, EngineError),
        ({}, EngineError),
    ],
)
async def test_an_error_is_translated(error: dict[str, object], kind: type[EngineError]) -> None:
    with pytest.raises(EngineError) as failed:
        await read([json.dumps({"error": error}).encode()])
    assert type(failed.value) is kind


@pytest.mark.parametrize("chunk", [b"", b"nonsense", b"[]", b'{"choices": 5}'])
async def test_what_cannot_be_read_is_an_engine_error_and_stops_the_engine(chunk: bytes) -> None:
    with pytest.raises(EngineError, match="cannot be read"):
        await read([delta("a", 1), chunk, *end("stop", 2)])


async def test_an_answer_that_breaks_off_is_an_engine_error() -> None:
    with pytest.raises(EngineError, match="without a reason"):
        await read([delta("a", 1)])
