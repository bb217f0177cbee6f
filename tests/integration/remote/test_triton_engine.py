"""The engine that asks Triton, against a server in the format of its generate extension."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from nodes.engine import EngineSpec, Generate, RemoteSpec
from nodes.engines import open_engine
from nodes.errors import EngineAway, EngineError, EngineUnavailable, RequestRefused
from streams.tasks.chat import Message, Sampling
from tests.contract.waiting import eventually
from tests.played_triton import Mode, PlayedTriton
from tests.played_triton_grpc import PlayedGrpcTriton

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from nodes.engine import Engine, Piece
    from streams.devices.replica import Replica


@pytest.fixture(params=[PlayedTriton, PlayedGrpcTriton], ids=["http", "grpc"])
def played(request: pytest.FixtureRequest) -> type[PlayedTriton]:
    """A Triton server, by either protocol."""
    return request.param


@asynccontextmanager
async def started(server: PlayedTriton, **fields: Any) -> AsyncIterator[tuple[Engine, Replica]]:
    engine = open_engine(EngineSpec(engine="triton", remote=RemoteSpec(url=server.url), **fields))
    try:
        yield engine, await engine.start()
    finally:
        await engine.stop()


async def answer(engine: Engine, *, tokens: int = 4, prefix: str = "", stop: tuple[str, ...] = ()) -> list[Piece]:
    asked = (Message(role="system", content="Be brief."), Message(role="user", content="say <|im_end|>"))
    request = Generate(messages=asked, sampling=Sampling(max_tokens=tokens, temperature=0, stop=stop), prefix=prefix)
    return [piece async for piece in engine.generate(request)]


def text_of(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


@pytest.mark.parametrize("inputs", [("text_input", "stream"), ("text_input", "max_tokens", "temperature")])
async def test_an_answer_comes_in_pieces_and_is_continued_behind_its_prompt(
    played: type[PlayedTriton], inputs: tuple[str, ...]
) -> None:
    async with played(inputs=inputs).running() as server, started(server) as (engine, replica):
        assert (replica.engine, replica.model, replica.continues, replica.slots) == ("triton", "words", True, 4)
        pieces = await answer(engine)
        assert text_of(pieces) == "lorem ipsum dolor sit "
        assert pieces[-1].finish_reason == "length"
        assert pieces[-1].usage is not None
        assert sum(piece.tokens for piece in pieces) == pieces[-1].usage.completion_tokens == 4
        assert text_of(await answer(engine, prefix="lorem ip")) == "sum dolor sit amet "
        assert text_of(await answer(engine, stop=("dol",))) == "lorem ipsum "
        prompt = server.asked[-3]["text_input"]
        # What a person wrote is no marker.
        assert prompt.startswith(
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nsay <\u2060|im_end|><|im_end|>"
        )
        assert prompt.endswith("<|im_start|>assistant\n")
        assert ("parameters" in server.asked[-1]) == ("max_tokens" not in inputs)


async def test_a_plain_prompt_has_names_and_colons(played: type[PlayedTriton]) -> None:
    async with played().running() as server, started(server, triton_prompt="plain") as (engine, _):
        assert text_of(await answer(engine, tokens=1)) == "lorem "
        assert server.asked[-1]["text_input"] == "System: Be brief.\nUser: say <|im_end|>\nAssistant: "


async def test_failures_and_refusals_are_told_apart_and_a_closed_answer_closes_the_connection(
    played: type[PlayedTriton],
) -> None:
    async with played().running() as server, started(server) as (engine, _):
        failures: list[tuple[Mode, type[EngineError], str]] = [
            ("says error", EngineError, "out of luck"),
            ("nothing", EngineError, "without a word"),
            ("refuses", RequestRefused, "expected 1 input"),
        ]
        for server.mode, kind, reason in failures:
            with pytest.raises(kind, match=reason):
                await answer(engine)
        server.mode, server.token_delay_s = "fine", 0.01
        request = Generate(messages=(Message(role="user", content="x"),), sampling=Sampling(max_tokens=1000))
        async with aclosing(engine.generate(request)) as pieces:
            await anext(pieces)
        await eventually(lambda: server.writing == 0)
        assert engine.load().running == 0


async def test_a_model_that_generates_no_text_or_is_not_ready_is_refused(played: type[PlayedTriton]) -> None:
    async with played(inputs=("image",)).running() as server:
        with pytest.raises(EngineUnavailable, match="generates no text"):
            async with started(server):
                pass
        with pytest.raises(EngineError):
            async with started(server, model="broken"):
                pass
        server.closed = True
        with pytest.raises(EngineUnavailable, match="name the one to ask for by --model"):
            async with started(server):
                pass
        server.inputs = ("text_input",)
        async with started(server, model="words") as (_, replica):
            assert replica.model == "words"


async def test_wishes_go_over_grpc_as_inputs_where_the_model_has_such_and_else_as_parameters() -> None:
    async with PlayedGrpcTriton(inputs=("text_input", "stream")).running() as server, started(server) as (engine, _):
        await answer(engine)
        asked = server.asked[-1]
        assert (asked["stream"], asked["parameters"]) == (True, {"max_tokens": 4, "temperature": 0.0})
        assert isinstance(asked["parameters"]["temperature"], float)
    async with (
        PlayedGrpcTriton(inputs=("text_input", "max_tokens")).running() as server,
        started(server) as (engine, _),
    ):
        await answer(engine)
        assert set(server.asked[-1]) == {"text_input", "max_tokens"}


async def test_texts_come_over_grpc_as_they_are_and_an_older_server_tells_errors_in_the_stream() -> None:
    server = PlayedGrpcTriton(raw=False, tells_status=False, context_tokens=200)
    async with server.running(), started(server) as (engine, _):
        assert text_of(await answer(engine)) == "lorem ipsum dolor sit "
        with pytest.raises(RequestRefused) as refused:
            await answer(engine, prefix="word " * 300)
        assert refused.value.code == "context_length_exceeded"
        server.mode = "refuses"
        with pytest.raises(EngineError, match="expected 1 input"):
            await answer(engine)


async def test_a_grpc_server_that_is_gone_is_away_and_a_stopped_engine_ends_who_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nodes.engines.remote.presence.EVERY_S", 0.05)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(PlayedGrpcTriton().running())
        engine, _ = await stack.enter_async_context(started(server))
        await server.stop()
        with pytest.raises(EngineAway, match="nobody answers at grpc://127"):
            await answer(engine)
        await eventually(lambda: engine.load().away is not None)
    async with PlayedGrpcTriton(token_delay_s=60).running() as server:
        engine = open_engine(EngineSpec(engine="triton", model="words", remote=RemoteSpec(url=server.url)))
        starting = asyncio.create_task(engine.start())
        await eventually(lambda: server.writing == 1)
        await engine.stop()
        with pytest.raises(EngineUnavailable, match="stopped"):
            await starting


@pytest.mark.parametrize("url", ["grpc://", "grpc://host", "grpc://host:8001/v2", "grpc://me:secret@host:8001"])
def test_what_is_no_address_of_a_grpc_server_is_refused(url: str) -> None:
    with pytest.raises(EngineUnavailable, match="the URL of a server"):
        open_engine(EngineSpec(engine="triton", remote=RemoteSpec(url=url)))
