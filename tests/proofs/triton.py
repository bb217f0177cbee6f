"""The engine triton against a real tritonserver: the one that nvidia-pytriton carries, with a model of words.

    python -m venv .venvs/triton && .venvs/triton/bin/pip install nvidia-pytriton==0.7.0 'numpy<2'
    LD_LIBRARY_PATH=<folder of libpython3.11.so> .venvs/triton/bin/python tests/proofs/triton_words.py 18400
    python -m tests.proofs.triton http://127.0.0.1:18400
    python -m tests.proofs.triton grpc://127.0.0.1:18401

No suite runs it; its log lies in docs/proofs/.
"""

import asyncio
import sys
import time
from contextlib import aclosing

import aiohttp

from nodes.engine import EngineSpec, Generate, Piece, RemoteSpec
from nodes.engines import open_engine
from streams.tasks.chat import Message, Sampling
from tests.proofs.told import say, text_of

ASKED = (Message(role="user", content="hello"),)


async def main(url: str) -> None:
    if url.startswith("http"):
        async with aiohttp.ClientSession() as session, session.get(f"{url}/v2") as response:
            about = await response.json()
        say(f"Triton {about['version']}, extensions: {', '.join(about['extensions'])}")
    engine = open_engine(
        EngineSpec(engine="triton", model="words", remote=RemoteSpec(url=url)), lambda loading: say(str(loading))
    )
    say(str(await engine.start()))

    async def ask(prefix: str = "") -> list[Piece]:
        request = Generate(messages=ASKED, sampling=Sampling(max_tokens=5), prefix=prefix)
        return [piece async for piece in engine.generate(request)]

    whole = await ask()
    assert text_of(whole) == "lorem ipsum dolor sit amet "
    say(f"an answer in {len(whole)} pieces: {text_of(whole)!r}, {whole[-1].finish_reason}, {whole[-1].usage}")
    assert text_of(await ask("lorem ip")) == "sum dolor sit amet tempor "
    say("it goes on behind 'lorem ip' with 'sum dolor'")
    answers = await asyncio.gather(*(ask() for _ in range(4)))
    assert {text_of(answer) for answer in answers} == {text_of(whole)}
    say("four at once are whole and unmixed")
    request = Generate(messages=ASKED, sampling=Sampling(max_tokens=1000))
    async with aclosing(engine.generate(request)) as pieces:
        await anext(pieces)
    began = time.monotonic()
    assert text_of(await ask()) == text_of(whole)
    say(f"after a cancelled answer the next is whole, {time.monotonic() - began:.2f} s later")
    await engine.stop()
    say("stopped")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
