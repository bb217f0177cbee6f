"""The real vLLM under a node's supervision: what the tests show with a stand-in, shown with the program itself.

    python -m tests.proofs.vllm engine CHAT                 # the engine alone, as a node runs it
    python -m tests.proofs.vllm orphans CHAT                # nodes that are killed: nothing of vLLM is left
    python -m tests.proofs.vllm mesh CHAT EMBEDDING         # `ig3 up` with two vLLMs, asked through its gateway

CHAT is the folder of a chat model (``scripts/gguf-to-folder`` writes one), EMBEDDING that of all-MiniLM-L6-v2;
``--program`` names another vLLM than that of ``make vllm``. It takes minutes and 4 GB, so no suite runs it; its log
lies in docs/proofs/.
"""

import argparse
import asyncio
import os
import signal
import time
from contextlib import aclosing
from importlib.metadata import version
from pathlib import Path

from nodes.engine import EngineSpec, Generate, Piece, VllmSpec
from nodes.engines import open_engine
from nodes.engines.remote.vllm import VllmEngine
from nodes.errors import RequestRefused
from streams.tasks.chat import Message, Sampling
from tests.proofs.told import resident_mib, say, text_of
from tests.proofs.vllm_nodes import check_mesh, check_orphans

OPTIONS = ("--enforce-eager", "--dtype=bfloat16")
STORY = "Tell me a long story about the sea."
CAPITALS = {"France": "Paris", "Japan": "Tokyo", "Egypt": "Cairo", "Germany": "Berlin"}


def group(pid: int) -> list[int]:
    """The processes of a group that still run."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == pid and fields[0] != "Z":
                found.append(int(entry.name))
    return found


async def pieces_of(engine: VllmEngine, content: str, *, tokens: int, prefix: str = "", stop: str = "") -> list[Piece]:
    sampling = Sampling(max_tokens=tokens, temperature=0, stop=(stop,) if stop else ())
    request = Generate(messages=(Message(role="user", content=content),), sampling=sampling, prefix=prefix)
    return [piece async for piece in engine.generate(request)]


async def until(condition) -> None:
    while not condition():  # noqa: ASYNC110  there is no event to wait for
        await asyncio.sleep(0.1)


async def ask_all(engine: VllmEngine) -> None:
    story = await pieces_of(engine, STORY, tokens=24)
    usage = story[-1].usage
    assert usage is not None
    assert usage.completion_tokens == sum(piece.tokens for piece in story) == 24
    say(f"an answer of 24 tokens in {len(story)} pieces, {usage}: {text_of(story)!r}")
    begun = text_of(story[:9])
    rest = await pieces_of(engine, STORY, tokens=12, prefix=begun)
    same = text_of(story).startswith(begun + text_of(rest)) or (begun + text_of(rest)).startswith(text_of(story))
    say(f"it goes on behind {begun!r}: {text_of(rest)!r} ({'the same text' if same else 'another text'})")
    cut = await pieces_of(engine, STORY, tokens=24, stop=text_of(story)[20:26])
    assert text_of(cut) == text_of(story)[:20]
    say("a stop string ends an answer and is not shown")
    questions = (f"What is the capital of {country}? Answer with its name only." for country in CAPITALS)
    answers = await asyncio.gather(*(pieces_of(engine, question, tokens=10) for question in questions))
    right = sum(capital in text_of(answer) for answer, capital in zip(answers, CAPITALS.values(), strict=True))
    say(f"four at once, {right} of 4 right: {[text_of(answer) for answer in answers]}")
    try:
        await pieces_of(engine, "word " * 3000, tokens=1)
    except RequestRefused as refused:
        say(f"too long a prompt is refused: {refused.code}")
    request = Generate(messages=(Message(role="user", content=STORY),), sampling=Sampling(max_tokens=400))
    async with aclosing(engine.generate(request)) as pieces:
        await anext(pieces)
        inside = await engine.requests_inside()
    closed = time.monotonic()
    while await engine.requests_inside():
        pass
    say(f"cancelled: vLLM counted {inside} request, and none {time.monotonic() - closed:.2f} s later")
    say(f"its metrics: {len(engine._program._metrics)} of its own families, {engine.load()}")


async def check_engine(folder: Path, program: Path) -> None:
    os.environ["VLLM_CPU_KVCACHE_SPACE"] = "1"
    vllm = VllmSpec(program=program, options=OPTIONS)
    spec = EngineSpec(engine="vllm", model=str(folder), slots=4, vllm=vllm)
    engine = open_engine(spec, lambda loading: say(str(loading)))
    assert isinstance(engine, VllmEngine)
    replica = await engine.start()
    first = engine.child_pid
    assert first is not None
    members = sorted(group(first))
    # Its guard is the first of them, and the program itself the second.
    say(f"{replica}")
    say(f"vLLM is {len(members)} processes with {resident_mib(members)} MiB")
    await ask_all(engine)
    os.kill(members[1], signal.SIGKILL)
    await until(lambda: engine.load().away is not None)
    say(f"killed by -9, and away: {engine.load().away}")
    await until(lambda: engine.load().away is None)
    assert group(first) == []
    say("started again by the node, and nothing is left of the first")
    say(f"it answers: {text_of(await pieces_of(engine, STORY, tokens=8))!r}")
    second = engine.child_pid
    assert second is not None
    await engine.stop()
    assert group(second) == []
    say("stopped: no process is left")


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("what", choices=("engine", "orphans", "mesh"))
    asked.add_argument("chat", type=Path)
    asked.add_argument("embedding", type=Path, nargs="?")
    asked.add_argument("--program", type=Path, default=Path(".venvs/vllm/bin/vllm"))
    given = asked.parse_args()
    chat, program = given.chat.absolute(), given.program.absolute()
    say(f"ig3 {version('ig3-edge-network')}, {os.cpu_count()} CPU cores, load average {os.getloadavg()[0]:.1f}")
    match given.what:
        case "engine":
            asyncio.run(check_engine(chat, program))
        case "orphans":
            check_orphans(chat, program)
        case _:
            if given.embedding is None:
                asked.error("mesh needs the folder of all-MiniLM-L6-v2 as well")
            check_mesh(chat, given.embedding.absolute(), program)


if __name__ == "__main__":
    main()
