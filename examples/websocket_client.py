"""Ask over HTTP, hang up, and follow the task over the websocket: also when the connection drops in between.

Run it with a gateway and a question: python examples/websocket_client.py http://127.0.0.1:8080 "Why is the sky blue?"
"""

import asyncio
import sys
from collections.abc import AsyncIterator

from aiohttp import ClientError, ClientSession

TOO_BIG = 1009


async def submit(http: ClientSession, gateway: str, model: str, question: str) -> str:
    """Ask, and return the task's id without waiting for the answer: the mesh goes on without us."""
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": question}]}
    headers = {"x-ig3-on-disconnect": "continue"}
    async with http.post(f"{gateway}/v1/chat/completions", json=body, headers=headers) as answer:
        answer.raise_for_status()
        return answer.headers["x-ig3-task"]


async def follow(http: ClientSession, gateway: str, task: str) -> AsyncIterator[dict]:
    """Yield every event of a task, once and in order, to its end; connects again as often as it takes."""
    after = 0
    pause_s = 0.2
    while True:
        try:
            async with http.ws_connect(f"{gateway}/ws", protocols=["ig3.v1.json"]) as ws:
                await ws.send_json({"type": "subscribe", "id": 1, "topic": "task", "task": task, "after": after})
                async for message in ws:
                    frame = message.json()
                    match frame["type"]:
                        case "events":
                            pause_s = 0.2
                            for item in frame["events"]:
                                after = item["event"]["n"]
                                yield item["event"]
                        case "over":
                            return
                        case "error" if not frame.get("still_subscribed"):
                            raise SystemExit(frame["message"])
            if ws.close_code == TOO_BIG or 4400 <= (ws.close_code or 0) < 4500:
                raise SystemExit(f"The gateway will not have us: {ws.close_code}")
        except ClientError:
            pass  # No gateway there just now.
        await asyncio.sleep(pause_s)
        pause_s = min(5.0, pause_s * 2)


async def main(gateway: str, question: str) -> None:
    """Ask the first model that is served, and print the answer as it arrives."""
    async with ClientSession() as http:
        async with http.get(f"{gateway}/v1/models") as answer:
            model = (await answer.json())["data"][0]["id"]
        task = await submit(http, gateway, model, question)
        async for event in follow(http, gateway, task):
            match event["type"]:
                case "task.queued.v1":
                    print(f"[queued, {event['position']} before it: {event['reason']}]", flush=True)
                case "task.assigned.v1":
                    print(f"[{event['node']} answers]", flush=True)
                case "task.chunk.v1":
                    print(event["text"], end="", flush=True)
                case "task.ended.v1":
                    print(f"\n[{event['outcome']}]", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    asyncio.run(main(sys.argv[1].rstrip("/"), sys.argv[2]))
