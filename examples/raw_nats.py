"""A task on the bus without our client: any NATS client in any language can do what this does with nats-py.

Run it as `python examples/raw_nats.py [MODEL]`.

It publishes a task as JSON, follows `live.*.local.>`, drops its connection in the middle, comes back, asks for what it
missed by `api.user.local.events`, and follows on. The text goes to standard output, what happens to standard error.
IG3_NATS and IG3_DATA_DIR say where the mesh is, if it is not the one of this folder.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import msgpack
import nats
from nats.aio.client import Client

ACCOUNT = "local"
PATIENCE_S = 30
JSON = {"Content-Type": "application/json"}


def new_task_id() -> str:
    """A UUIDv7: 48 bits of time, then chance. The mesh refuses ids that are much older than its streams."""
    chance = os.urandom(10).hex()
    return f"{int(time.time() * 1000):012x}7{chance[:3]}8{chance[3:18]}"


async def connect() -> Client:
    """Connect as a user: its replies come under an inbox prefix that nobody else may read."""
    return await nats.connect(
        f"nats://{os.environ.get('IG3_NATS', '127.0.0.1:4222')}",
        nkeys_seed=f"{os.environ.get('IG3_DATA_DIR', '.ig3')}/credentials/user.nk",
        inbox_prefix=f"_INBOX.user.{ACCOUNT}".encode(),
        connect_timeout=PATIENCE_S,
    )


async def submit(nc: Client, task: str, model: str, prompt: str) -> None:
    """Publish the task. The broker's answer says that it is on disk, or why not."""
    body = {"model": model, "messages": [{"role": "user", "content": prompt}], "sampling": {"max_tokens": 40}}
    subject = f"tasks.interactive.{task[-1]}.{ACCOUNT}.{task}.submitted"
    answer = json.loads((await nc.request(subject, json.dumps(body).encode(), headers=JSON, timeout=PATIENCE_S)).data)
    if "error" in answer:
        sys.exit(f"not stored: {answer['error']['description']}")


async def missed(nc: Client, task: str, after: int) -> list[dict[str, Any]]:
    """Ask for the events past counter `after`; the mesh has checked them already."""
    events: list[dict[str, Any]] = []
    while True:
        question = json.dumps({"type": "user.events.v1", "task": task, "after": after}).encode()
        asked = nc.request(f"api.user.{ACCOUNT}.events", question, headers=JSON, timeout=PATIENCE_S)
        page = json.loads((await asked).data)
        events += [stored["body"] for stored in page["events"]]
        if not page.get("more"):
            return events
        after = events[-1]["n"]


async def follow(nc: Client, task: str, after: int) -> AsyncIterator[dict[str, Any]]:
    """Yield every event past counter `after`, each once: what is live may be lost, what is stored decides."""
    live = await nc.subscribe(f"live.*.{ACCOUNT}.>")
    waiting = await missed(nc, task, after)
    while True:
        for event in waiting:
            if event["n"] == after + 1:
                after += 1
                yield event
            elif event["n"] > after + 1:
                waiting = await missed(nc, task, after)
                break
        else:
            try:
                message = await live.next_msg(timeout=2)
                waiting = [msgpack.unpackb(message.data)] if f".{task}." in message.subject else []
            except TimeoutError:
                # Silence: perhaps nothing happens, perhaps a message was lost.
                waiting = await missed(nc, task, after)


async def main(model: str) -> None:
    """Submit, follow, drop, come back, follow to the end."""
    task, seen, has_dropped = new_task_id(), 0, False
    nc = await connect()
    print(f"task {task}", file=sys.stderr)
    await submit(nc, task, model, "Why is the sky blue?")
    while True:
        async for event in follow(nc, task, seen):
            seen = event["n"]
            if event["type"] == "task.chunk.v1":
                print(event["text"], end="", flush=True)
                if not has_dropped:
                    break
            if event["type"] == "task.ended.v1":
                print(f"\n{event['outcome']}", file=sys.stderr)
                await nc.close()
                return
        has_dropped = True
        print(f"\ndropping the connection behind event {seen}", file=sys.stderr)
        await nc.close()
        await asyncio.sleep(0.5)
        nc = await connect()


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct"))
