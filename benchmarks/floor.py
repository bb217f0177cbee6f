"""What such a service must cost at least: a bare aiohttp server, one NATS request to a replier, and the reply.

Run as a process of its own: ``python -m benchmarks.floor NATS_URL SEED_FILE HTTP_PORT JETSTREAM_PUBLISHES``. With
``JETSTREAM_PUBLISHES`` 2 it also stores what was asked and what was answered, as durably as the gateway does.
"""

import asyncio
import itertools
import json
import sys

import nats
import uvloop
from aiohttp import web
from nats.aio.msg import Msg

STREAM = "FLOOR"


async def main(url: str, seed: str, port: int, publishes: int) -> None:
    options = {"nkeys_seed": seed}
    client, replier = await nats.connect(url, **options), await nats.connect(url, **options)
    stream = client.jetstream()
    if publishes:
        await stream.add_stream(name=STREAM, subjects=["floor.>"])

    async def reply(message: Msg) -> None:
        await message.respond(b'{"text": "hello"}')

    await replier.subscribe("bench.floor", cb=reply)
    numbers = itertools.count()

    async def serve(request: web.Request) -> web.Response:
        asked = json.loads(await request.read())
        number = next(numbers)
        if publishes:
            await stream.publish(f"floor.{number}.asked", json.dumps(asked).encode())
        answer = await client.request("bench.floor", json.dumps(asked["messages"]).encode())
        if publishes:
            await stream.publish(f"floor.{number}.answered", answer.data)
        text = json.loads(answer.data)["text"]
        return web.json_response({"choices": [{"message": {"role": "assistant", "content": text}}]})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
