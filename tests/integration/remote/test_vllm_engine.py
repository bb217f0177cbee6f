"""vLLM under the node's supervision, played by a real server program that the node starts, restarts and stops."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nodes.engine import EngineSpec, Generate, VllmSpec
from nodes.engines import open_engine
from nodes.engines.remote.vllm import VllmEngine
from nodes.errors import EngineUnavailable
from streams.tasks.chat import Message, Sampling
from tests.contract.waiting import eventually
from tests.stand_in_vllm import installed_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from streams.devices.replica import Replica

pytestmark = pytest.mark.timeout(180)

LIMIT_S = 120.0
"""A program is started, ends and is started again, while this machine does other things too."""
SAMPLING = Sampling(max_tokens=4)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return installed_in(tmp_path)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "Words-1B"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 1024, "dtype": "bfloat16"}))
    added = {"0": {"content": "<|end|>", "special": True}, "1": {"content": "plain", "special": False}}
    (folder / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": added}))
    (folder / "tokenizer.json").write_text(json.dumps({"added_tokens": [{"content": "<|go|>", "special": True}]}))
    (folder / "chat_template.jinja").write_text("{{ '<|in|>' + message['content'] }}")
    return folder


@asynccontextmanager
async def started(program: Path, model: Path, *options: str) -> AsyncIterator[tuple[VllmEngine, Replica]]:
    vllm = VllmSpec(program=program, tensor_parallel=2, options=options)
    engine = open_engine(EngineSpec(engine="vllm", model=str(model), context_tokens=4096, slots=3, vllm=vllm))
    assert isinstance(engine, VllmEngine)
    try:
        yield engine, await engine.start()
    finally:
        await engine.stop()


def pids(model: Path) -> list[int]:
    return [int(pid) for pid in (model / "pids").read_text().split()]


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def answer(engine: VllmEngine, *, prefix: str = "", content: str = "hello") -> str:
    asked = (Message(role="user", content=content),)
    request = Generate(messages=asked, sampling=SAMPLING, prefix=prefix)
    return "".join([piece.text async for piece in engine.generate(request)])


async def test_the_program_is_started_asked_and_stopped_with_all_that_it_began(program: Path, model: Path) -> None:
    async with started(program, model) as (engine, replica):
        assert (replica.engine, replica.model, replica.quantisation) == ("vllm", "words-1b", "bfloat16")
        assert (replica.context_tokens, replica.slots, replica.continues) == (1024, 3, True)
        assert await answer(engine) == "lorem ipsum dolor sit "
        assert await answer(engine, prefix="lorem ip") == "sum dolor sit amet "
        arguments = (model / "arguments").read_text().split("\n")
        assert arguments[:2] == ["serve", str(model)]
        assert arguments[arguments.index("--tensor-parallel-size") + 1] == "2"
        assert arguments[arguments.index("--max-num-seqs") + 1] == "3"
        assert "--no-enable-prefix-caching" in arguments
        # The key that others would need is in no list of processes.
        assert engine._server.key.reveal() not in "".join(arguments)
        running = pids(model)
        assert all(map(runs, running))
    assert not any(map(runs, running))


async def test_its_metrics_are_read_and_a_marker_in_a_message_is_broken(program: Path, model: Path) -> None:
    async with started(program, model) as (engine, _):
        request = Generate(messages=(Message(role="user", content="x"),), sampling=Sampling(max_tokens=10_000))
        async with aclosing(engine.generate(request)) as pieces:
            await anext(pieces)
            assert await engine.requests_inside() == 1
            assert engine.load().cache_used == 0.25
        async with asyncio.timeout(LIMIT_S):
            while await engine.requests_inside():
                pass
        for marker in ("<|end|>", "<|go|>", "<|in|>"):
            assert engine._plain(f"say {marker} plain") == f"say <\u2060{marker[1:]} plain"


@pytest.mark.parametrize("by", ["itself", "kill -9"])
async def test_a_program_that_ends_is_away_until_it_was_started_again(
    program: Path, model: Path, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodes.engines.remote.presence.EVERY_S", 0.1)
    async with started(program, model) as (engine, _), asyncio.timeout(LIMIT_S):
        before = pids(model)
        if by == "itself":
            (model / "crash").touch()
        else:
            os.kill(before[0], signal.SIGKILL)
        await eventually(lambda: engine.load().away is not None)
        (model / "crash").unlink(missing_ok=True)
        await eventually(lambda: engine.load().away is None)
        assert not any(map(runs, before))
        assert await answer(engine) == "lorem ipsum dolor sit "


@pytest.mark.parametrize(
    ("boom", "why"),
    [
        ("--boom", "Value error, CUDA is out of memory"),
        ("--bang", "_rust.SafetensorError: Error while deserializing header"),
    ],
)
async def test_a_program_that_cannot_start_says_why(program: Path, model: Path, boom: str, why: str) -> None:
    with pytest.raises(EngineUnavailable, match=f"ended with 1 before it served: {re.escape(why)}"):
        async with started(program, model, boom):
            pass


def test_what_is_missing_is_told_with_what_to_do(program: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"vLLM is not installed: .*Run `make vllm`"):
        open_engine(EngineSpec(engine="vllm", model=str(model), vllm=VllmSpec(program=tmp_path / "none")))
    with pytest.raises(EngineUnavailable, match=r"give a folder with config\.json and weights by --model"):
        open_engine(EngineSpec(engine="vllm", model=str(tmp_path), vllm=VllmSpec(program=program)))
    (model / "config.json").write_text("{")
    with pytest.raises(EngineUnavailable, match=r"config\.json cannot be used"):
        open_engine(EngineSpec(engine="vllm", model=str(model), vllm=VllmSpec(program=program)))
