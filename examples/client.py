"""The mesh's Python client: an answer as it arrives, one that is resumed, and one that is no longer wanted.

Run it as `python examples/client.py [MODEL]`. It finds the mesh of this folder (`ig3 up`), or the one that IG3_NATS and
IG3_DATA_DIR name.
"""

import asyncio
import sys

import mesh


async def main(model: str) -> None:
    """Ask, resume, cancel."""
    async with await mesh.connect() as client:
        answer = await client.submit(model, "Why is the sky blue?", max_tokens=40)
        async for piece in answer:
            print(piece.text, end="", flush=True)
        result = await answer.result()
        print(f"\n[{result.finish_reason}, {result.usage.completion_tokens} tokens, by {result.node}]")

        # Whoever knows the id goes on where somebody stopped, on any machine.
        task = (await client.submit(model, [mesh.Message(role="user", content="Count to ten.")], max_tokens=40)).task
        async with await mesh.connect() as other:
            print((await (await other.resume(task)).result()).text)

        unwanted = await client.submit(model, "Tell me a long story.", max_tokens=1500)
        print("cancelled:", (await unwanted.cancel()).outcome)


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct"))
