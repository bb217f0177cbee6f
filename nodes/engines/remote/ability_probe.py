"""Finds out what a server can do beyond plain text, each by something that it would not do by chance.

What it refuses is not announced, nor what it takes and ignores.
"""

from __future__ import annotations

import logging
import struct
import zlib
from typing import TYPE_CHECKING, Final

import msgspec

from nodes.engine import Generate
from nodes.errors import EngineError
from streams.tasks.chat import ImagePart, Message, Sampling, TextPart, TokenBias
from streams.tasks.tools import Function, OutputFormat, Tools

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from nodes.engine import Piece
    from streams.devices.replica import Ability

    Ask = Callable[[Generate], AsyncGenerator[Piece, None]]

log = logging.getLogger(__name__)

_STORY: Final = (Message(role="user", content="Tell me a long story about the sea."),)
_NOTE: Final = Function(
    name="take_note",
    description="Notes a word.",
    parameters_json='{"type":"object","properties":{"word":{"type":"string"}},"required":["word"]}',
)
_ONLY: Final = {"sea": "calm"}
_SCHEMA: Final = (
    '{"type":"object","properties":{"sea":{"type":"string","enum":["calm"]}},"required":["sea"],'
    '"additionalProperties":false}'
)
_ROOM: Final = 48
"""Tokens for a short call, or a short object."""
_WISHED: Final = (1000, 2000)
"""Two tokens that every vocabulary has."""
_MOST_BIAS: Final = 100.0
_COLOURS: Final = {"red": (255, 0, 0), "blue": (0, 0, 255)}
_SIDE: Final = 32


async def abilities_of(ask: Ask, without: Sequence[Ability]) -> tuple[Ability, ...]:
    """Try everything that ``without`` does not name; short answers, nine at most."""
    trials: dict[Ability, Callable[[Ask], Awaitable[bool]]] = {
        "tools": _calls,
        "schema": _keeps_to_schema,
        "vision": _sees,
        "logprobs": _gives_logprobs,
        "logit_bias": _takes_bias,
    }
    found: list[Ability] = []
    for ability, trial in trials.items():
        if ability in without:
            continue
        try:
            is_able = await trial(ask)
        except EngineError as error:
            log.info("the server does not take a request for %s: %s", ability, error)
            continue
        if is_able:
            found.append(ability)
        else:
            log.info("the server ignores a request for %s: it is not announced", ability)
    return tuple(found)


async def _calls(ask: Ask) -> bool:
    tools = Tools(functions=(_NOTE,), choice="required")
    asked = Generate(messages=_STORY, sampling=Sampling(max_tokens=_ROOM, temperature=0), tools=tools)
    return any(call.name == _NOTE.name for piece in await _heard(ask, asked) for call in piece.tool_calls)


async def _keeps_to_schema(ask: Ask) -> bool:
    form = OutputFormat(kind="json_schema", name="sea", schema_json=_SCHEMA)
    asked = Generate(messages=_STORY, sampling=Sampling(max_tokens=_ROOM, temperature=0), format=form)
    try:
        return msgspec.json.decode(_text(await _heard(ask, asked))) == _ONLY
    except msgspec.DecodeError:
        return False


async def _sees(ask: Ask) -> bool:
    return all([name in (await _colour(ask, name)).lower() for name in _COLOURS])


async def _colour(ask: Ask, name: str) -> str:
    question = "Which colour has this picture? Answer with one word."
    parts = (TextPart(text=question), ImagePart(media_type="image/png", data=_picture(_COLOURS[name])))
    messages = (Message(role="user", content=question, parts=parts),)
    return _text(await _heard(ask, Generate(messages=messages, sampling=Sampling(max_tokens=_ROOM, temperature=0))))


async def _gives_logprobs(ask: Ask) -> bool:
    sampling = Sampling(max_tokens=2, temperature=0, top_logprobs=2)
    places = [
        place for piece in await _heard(ask, Generate(messages=_STORY, sampling=sampling)) for place in piece.logprobs
    ]
    return bool(places) and all(place.top for place in places)


async def _takes_bias(ask: Ask) -> bool:
    texts = {_text(await _heard(ask, Generate(messages=_STORY, sampling=Sampling(max_tokens=2, temperature=0))))}
    for token in _WISHED:
        bias = (TokenBias(token=token, bias=_MOST_BIAS),)
        sampling = Sampling(max_tokens=2, temperature=0, logit_bias=bias)
        texts.add(_text(await _heard(ask, Generate(messages=_STORY, sampling=sampling))))
    return len(texts) == 1 + len(_WISHED)


async def _heard(ask: Ask, request: Generate) -> list[Piece]:
    return [piece async for piece in ask(request)]


def _text(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def _picture(colour: tuple[int, int, int]) -> bytes:
    """A PNG of one colour."""
    rows = b"".join(b"\0" + bytes(colour) * _SIDE for _ in range(_SIDE))
    header = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
