"""The engine that asks a server, against one that does what it is told: what it finds out, and what failures become."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import pytest

from nodes.engine import EngineSpec, Generate, Piece, RemoteSpec
from nodes.engines import open_engine
from nodes.engines.remote.openai import OpenAiEngine
from nodes.errors import EngineAway, EngineBusy, EngineError, EngineUnavailable, RequestRefused
from streams.devices.replica import Ability
from streams.tasks.chat import Message, Sampling
from tests.contract.waiting import eventually
from tests.played_chat_server import MODEL, Mode, PlayedChatServer, words

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from streams.devices.replica import Replica

ASKED = (Message(role="user", content="Tell me a story."),)
KEY = "sk-very-secret-0123456789"


@asynccontextmanager
async def started(
    server: PlayedChatServer, *, without: tuple[Ability, ...] = (), **remote: Any
) -> AsyncIterator[tuple[OpenAiEngine, Replica]]:
    """The engine, started while the server behaved."""
    mode, server.mode = server.mode, "in one piece" if server.mode == "in one piece" else "fine"
    asking = RemoteSpec(url=server.url, **{"patience_s": 20, **remote})
    spec = EngineSpec(engine="openai", without=without, remote=asking)
    engine = open_engine(spec)
    assert isinstance(engine, OpenAiEngine)
    replica = await engine.start()
    server.mode = mode
    server.asked.clear()
    try:
        yield engine, replica
    finally:
        await engine.stop()


async def answer(engine: OpenAiEngine, *, tokens: int = 6, prefix: str = "", stop: tuple[str, ...] = ()) -> list[Piece]:
    request = Generate(messages=ASKED, sampling=Sampling(max_tokens=tokens, stop=stop), prefix=prefix)
    return [piece async for piece in engine.generate(request)]


def text_of(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


# --- what it finds out -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["trailing", "flags", "continue_", "no"])
async def test_whether_a_server_goes_on_from_a_text_is_found_out_by_trying(way: Any) -> None:
    async with PlayedChatServer(continues=way).running() as server, started(server) as (engine, replica):
        assert replica.continues == engine.can_continue(Generate(messages=ASKED)) == (way != "no")
        if way != "no":
            assert text_of(await answer(engine, prefix="lorem ip", tokens=3)) == "sum dolor sit "


@pytest.mark.parametrize("usage", ["running", "final", "none"])
async def test_tokens_are_counted_as_the_server_does_or_else_by_pieces(usage: Any) -> None:
    async with PlayedChatServer(usage=usage).running() as server, started(server) as (engine, _):
        last = (await answer(engine, tokens=5))[-1]
        assert last.finish_reason == "length"
        assert last.usage is not None
        assert last.usage.completion_tokens == 5
        # Four words; where nobody counts, four characters are taken for a token.
        assert last.usage.prompt_tokens == 4


async def test_what_a_server_refuses_is_left_out() -> None:
    refused = frozenset({"stream_options", "max_tokens"})
    async with PlayedChatServer(refused=refused).running() as server, started(server) as (engine, _):
        assert text_of(await answer(engine, tokens=2)) == "lorem ipsum "
        assert server.asked[-1].keys() == {"model", "messages", "stream", "max_completion_tokens"}


async def test_a_server_that_does_not_stream_is_asked_all_the_same() -> None:
    async with PlayedChatServer(mode="in one piece").running() as server, started(server) as (engine, replica):
        pieces = await answer(engine, tokens=3)
        assert text_of(pieces) == "lorem ipsum dolor "
        assert sum(piece.tokens for piece in pieces) == 3
        assert not replica.continues


async def test_how_many_answers_run_at_once_is_told_by_the_operator_or_tried() -> None:
    # What else it can do is not tried: that takes its time from so slow a server.
    async with PlayedChatServer(token_delay_s=0.012, one_at_a_time=True).running() as server:
        async with started(server, without=get_args(Ability)) as (_, replica):
            assert replica.slots == 1
        server.one_at_a_time = False
        async with started(server, without=get_args(Ability)) as (_, replica):
            assert replica.slots == 4
            assert replica.tokens_per_s is not None


async def test_the_context_is_what_the_server_tells() -> None:
    async with PlayedChatServer().running() as server:
        async with started(server) as (_, replica):
            assert replica.context_tokens == 4096  # as Ollama tells it
        for name in ("max_model_len", "context_tokens", "context_length", "context_window"):
            server.models = [{"id": MODEL, name: 1234}]
            async with started(server) as (_, replica):
                assert replica.context_tokens == 1234


async def test_the_model_is_named_where_there_are_several() -> None:
    async with PlayedChatServer(models=[{"id": "a/b:1"}, {"id": "c"}]).running() as server:
        with pytest.raises(EngineUnavailable, match=r"by --model: it has a/b:1, c"):
            await open_engine(EngineSpec(engine="openai", remote=RemoteSpec(url=server.url))).start()
        with pytest.raises(EngineUnavailable, match="no model 'x': it has a/b:1, c"):
            await open_engine(EngineSpec(engine="openai", model="x", remote=RemoteSpec(url=server.url))).start()
        engine = open_engine(EngineSpec(engine="openai", model="c", model_id="ours", remote=RemoteSpec(url=server.url)))
        assert (await engine.start()).model == "ours"
        assert {body["model"] for body in server.asked} == {"c"}
        await engine.stop()


async def test_a_server_without_a_list_is_asked_for_the_model_that_was_named() -> None:
    async with PlayedChatServer(lists=False).running() as server:
        with pytest.raises(EngineUnavailable, match="has no list of models"):
            await open_engine(EngineSpec(engine="openai", remote=RemoteSpec(url=server.url))).start()
        engine = open_engine(EngineSpec(engine="openai", model="hidden", remote=RemoteSpec(url=server.url)))
        assert (await engine.start()).model == "hidden"
        await engine.stop()


@pytest.mark.parametrize("url", ["", "localhost:80", "ftp://x", "http://u:p@x", "http://x/?key=1", "http://x:99999"])
def test_what_is_no_url_of_a_server_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(EngineUnavailable, match="URL") as refused:
        open_engine(EngineSpec(engine="openai", remote=RemoteSpec(url=url)))
    assert "u:p" not in str(refused.value)


# --- stop strings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("usage", ["running", "final"])
async def test_a_stop_string_never_shows_and_the_counts_are_the_servers(usage: Any) -> None:
    async with PlayedChatServer(usage=usage).running() as server, started(server) as (engine, _):
        pieces = await answer(engine, tokens=9, stop=("m dol",))
        assert text_of(pieces) == "lorem ipsu"
        assert pieces[-1].finish_reason == "stop"
        assert pieces[-1].usage is not None
        assert sum(piece.tokens for piece in pieces) == pieces[-1].usage.completion_tokens
        assert ("stop" in server.asked[-1]) == (usage == "final")
        assert pieces[-1].usage.prompt_tokens == 4


# --- failures ----------------------------------------------------------------------------------------------------

FAILURES: list[tuple[Mode, str]] = [
    ("cuts", "cut the connection"), ("garbage", "cannot be read"), ("no json", "cannot be read"),
    ("endless line", "without an end"), ("no usage", "how many tokens"), ("no reason", "cut off"),
    ("says error", "out of luck"), ("page", "a web page"), ("hangs", "says nothing for"), ("mute", "says nothing for"),
]  # fmt: skip


@pytest.mark.parametrize(("mode", "reason"), FAILURES)
async def test_a_server_that_misbehaves_fails_one_answer_with_the_reason(mode: Mode, reason: str) -> None:
    async with PlayedChatServer(mode=mode).running() as server, started(server) as (engine, _):
        if reason.startswith("says nothing"):
            # Only for this answer: else this machine may be slow, and the server not to blame.
            engine._server._patience_s, usual_s = 0.3, engine._server._patience_s
            with pytest.raises(EngineError, match=reason) as failed:
                await answer(engine)
            engine._server._patience_s = usual_s
        else:
            with pytest.raises(EngineError, match=reason) as failed:
                await answer(engine)
        assert not isinstance(failed.value, RequestRefused | EngineUnavailable)
        assert engine.load().running == 0
        server.mode = "fine"
        assert text_of(await answer(engine, tokens=2)) == "lorem ipsum "


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RequestRefused), (401, EngineAway), (403, EngineAway), (404, EngineAway), (413, RequestRefused),
        (429, EngineBusy), (500, EngineError), (502, EngineAway), (503, EngineBusy), (302, EngineAway),
    ],
)  # fmt: skip
async def test_each_status_says_whether_to_ask_elsewhere_or_never_again(status: int, kind: type[EngineError]) -> None:
    async with PlayedChatServer().running() as server, started(server) as (engine, _):
        server.status = status
        with pytest.raises(EngineError) as failed:
            await answer(engine)
        assert type(failed.value).__mro__.index(kind) <= 1
        assert isinstance(failed.value, RequestRefused) == (kind is RequestRefused)


async def test_too_long_a_prompt_is_told_as_that() -> None:
    async with PlayedChatServer().running() as server, started(server) as (engine, _):
        server.status, server.message = 400, "This model's maximum context length is 8 tokens."
        with pytest.raises(RequestRefused, match="maximum context length is 8") as refused:
            await answer(engine)
        assert refused.value.code == "context_length_exceeded"


async def test_counts_that_cannot_be_true_are_not_passed_on() -> None:
    async with PlayedChatServer(mode="wild").running() as server, started(server) as (engine, _):
        usage = (await answer(engine, tokens=6))[-1].usage
        assert usage is not None
        assert usage.completion_tokens == 6
        assert usage.prompt_tokens < 1000


async def test_closing_an_answer_closes_the_connection_to_the_server() -> None:
    async with PlayedChatServer().running() as server, started(server) as (engine, _):
        server.token_delay_s = 0.01
        request = Generate(messages=ASKED, sampling=Sampling(max_tokens=10_000))
        async with aclosing(engine.generate(request)) as pieces:
            await anext(pieces)
            assert server.writing == 1
        assert engine.load().running == 0
        await eventually(lambda: (server.writing, server.given_up) == (0, 1))


@pytest.mark.parametrize("mode", ["fine", "hangs", "mute"])
async def test_stopping_ends_an_answer_wherever_it_is(mode: Mode) -> None:
    async with PlayedChatServer(mode=mode).running() as server, started(server) as (engine, _):
        server.token_delay_s = 0.01
        asking = asyncio.create_task(answer(engine, tokens=10_000))
        await eventually(lambda: bool(server.asked))
        await engine.stop()
        with pytest.raises(EngineUnavailable, match="stopped"):
            async with asyncio.timeout(20):
                await asking
        assert engine.load().running == 0


# --- away and back -----------------------------------------------------------------------------------------------


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers are looked at all the time."""
    monkeypatch.setattr("nodes.engines.remote.presence.EVERY_S", 0.05)


@pytest.mark.usefixtures("often")
async def test_a_server_that_goes_is_noticed_and_so_is_its_return(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    server = PlayedChatServer()
    async with server.running(), started(server) as (engine, _):
        port = server.port
        assert engine.load().away is None
        async with asyncio.timeout(20):
            server.status = 401
            with pytest.raises(EngineAway):
                await answer(engine)
            await eventually(lambda: engine.load().away is not None)
            server.status = 200
            await eventually(lambda: engine.load().away is None)
            server.models = [{"id": "another"}]
            await eventually(lambda: "no model 'played' any more" in (engine.load().away or ""))
            server.models = [{"id": MODEL}]
            await eventually(lambda: engine.load().away is None)
    assert f"http://127.0.0.1:{port} cannot be asked" in caplog.text
    assert "can be asked again" in caplog.text


# --- keys --------------------------------------------------------------------------------------------------------


async def test_a_key_is_sent_and_shown_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    file = tmp_path / "key"
    file.touch(mode=0o600)
    file.write_text(f"{KEY}\n")
    shown: list[str] = []
    async with PlayedChatServer(key=KEY).running() as server, started(server, key_file=file) as (engine, replica):
        assert text_of(await answer(engine, tokens=1)) == "lorem "
        shown += [repr(replica), repr(engine._server.key), repr(engine._spec), str(vars(engine))]
        for server.mode in ("leaks", "says error"):
            server.message = f"your key {KEY} is on fire"
            with pytest.raises(EngineError) as failed:
                await answer(engine)
            shown += [str(failed.value), repr(failed.value)]
        server.key = "another"
        with pytest.raises(EngineAway, match="refuses the API key") as failed:
            await answer(engine)
        shown += [str(failed.value), caplog.text]
    assert not any(KEY in text for text in shown)
    assert "****" in shown[4]


@pytest.mark.usefixtures("often")
async def test_a_key_comes_from_the_environment_too_and_a_changed_file_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THEIR_KEY", KEY)
    async with PlayedChatServer(key=KEY).running() as server, started(server, key_variable="THEIR_KEY") as (engine, _):
        assert text_of(await answer(engine, tokens=1)) == "lorem "
    file = tmp_path / "key"
    file.touch(mode=0o600)
    file.write_text("first")
    async with PlayedChatServer(key="first").running() as server, started(server, key_file=file) as (engine, _):
        server.key = "second"
        with pytest.raises(EngineAway):
            await answer(engine)
        await eventually(lambda: engine.load().away is not None)
        file.write_text("second")
        await eventually(lambda: engine.load().away is None)
        assert text_of(await answer(engine, tokens=1)) == "lorem "


def test_a_key_that_cannot_be_used_is_refused_at_the_start(tmp_path: Path) -> None:
    shared, odd = tmp_path / "shared", tmp_path / "odd"
    shared.write_text(KEY)
    shared.chmod(0o644)
    odd.touch(mode=0o600)
    odd.write_text("two words")
    for remote, reason in (
        (RemoteSpec(url="http://x", key_file=shared), "open to other users"),
        (RemoteSpec(url="http://x", key_file=odd), "is no API key"),
        (RemoteSpec(url="http://x", key_file=tmp_path / "none"), "does not exist"),
        (RemoteSpec(url="http://x", key_variable="NO_SUCH_KEY"), "NO_SUCH_KEY holds no API key"),
    ):
        with pytest.raises(EngineUnavailable, match=reason) as refused:
            open_engine(EngineSpec(engine="openai", remote=remote))
        assert KEY not in str(refused.value)


def test_the_played_server_goes_on_where_a_text_ends() -> None:
    assert words("", 3) == ["lorem ", "ipsum ", "dolor "]
    assert words("lorem ip", 2) == ["sum ", "dolor "]
    assert replace(PlayedChatServer(), mode="cuts").mode == "cuts"
