"""What the small model says when it is not split."""

import asyncio

from nodes.engine import EngineSpec, Generate
from nodes.engines import open_engine
from streams.tasks.chat import Message, Sampling

QUESTION = "Why is the sky blue?"


async def answer_of_the_whole(tokens: int) -> str:
    """Load the model, ask it greedily, and unload it."""
    engine = open_engine(EngineSpec(engine="llama-cpp-python", context_tokens=512, threads=1))
    await engine.start()
    asked = Generate(
        messages=(Message(role="user", content=QUESTION),), sampling=Sampling(max_tokens=tokens, temperature=0)
    )
    text = "".join([piece.text async for piece in engine.generate(asked)])
    await engine.stop()
    return text


def whole_answer(tokens: int) -> str:
    """The same for tests without a loop."""
    return asyncio.run(answer_of_the_whole(tokens))
