"""A loopback server in the format of Triton's generate extension."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

from tests.played_chat_server import words
from tests.served_app import served

Json = dict[str, Any]
SHORT_TURN = 12
Mode = Literal["fine", "says error", "nothing", "refuses"]


@dataclass(kw_only=True)
class PlayedTriton:
    """Goes on from the text behind the last marker or colon of a prompt."""

    inputs: tuple[str, ...] = ("text_input", "stream")
    mode: Mode = "fine"
    closed: bool = False
    """Whether the index of models is kept from callers, as it often is."""
    token_delay_s: float = 0.0
    context_tokens: int = 10_000
    """Words that a prompt may have."""
    asked: list[Json] = field(default_factory=list[Json])
    writing: int = 0
    url: str = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator["PlayedTriton"]:
        app = web.Application()
        app.router.add_post("/v2/repository/index", self._index)
        app.router.add_get("/v2/models/{model}", self._about)
        app.router.add_get("/v2/models/{model}/ready", self._ready)
        app.router.add_post("/v2/models/{model}/generate_stream", self._generate)
        async with served(app) as self.url:
            yield self

    async def _index(self, _: web.Request) -> web.Response:
        if self.closed:
            return web.Response(status=403)
        models = [{"name": "words", "version": "1", "state": "READY"}, {"name": "broken", "state": "UNAVAILABLE"}]
        return web.json_response(models)

    async def _ready(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if request.match_info["model"] == "words" else 400)

    async def _about(self, request: web.Request) -> web.Response:
        inputs = [{"name": name, "datatype": "BYTES", "shape": [1]} for name in self.inputs]
        outputs = [{"name": "text_output", "datatype": "BYTES", "shape": [-1]}]
        return web.json_response({"name": request.match_info["model"], "inputs": inputs, "outputs": outputs})

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        pieces = self.texts(await request.json())
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        try:
            async for word in pieces:
                if not response.prepared:
                    await response.prepare(request)
                await say(response, {"model_name": "words", "model_version": "1", "text_output": word})
        except Refused as refused:
            return web.json_response({"error": str(refused)}, status=400)
        except RuntimeError as failed:
            await say(response, {"error": str(failed)})
        if not response.prepared:
            await response.prepare(request)
        return response

    async def texts(self, asked: Json) -> AsyncIterator[str]:
        """Write one answer."""
        self.asked.append(asked)
        if self.mode == "refuses":
            raise Refused("expected 1 input")
        limit = asked.get("max_tokens") or asked["parameters"]["max_tokens"]
        prompt: str = asked["text_input"]
        if len(prompt.split()) > self.context_tokens:
            raise Refused(f"the prompt is longer than the maximum context length of {self.context_tokens} tokens")
        begun = prompt.rpartition("assistant\n")[2] if "<|im_start|>" in prompt else prompt.rpartition("Assistant: ")[2]
        # Asked for a name only, the model ends its turn by itself.
        length = min(limit, SHORT_TURN if "name only" in prompt else 10_000)
        self.writing += 1
        try:
            for number, word in enumerate(words(begun, length) if self.mode != "nothing" else ()):
                if self.mode == "says error" and number == 2:
                    raise RuntimeError("out of luck")
                yield word
                await asyncio.sleep(self.token_delay_s)
        finally:
            self.writing -= 1


class Refused(Exception):
    """The request is to blame."""


async def say(response: web.StreamResponse, said: Json) -> None:
    await response.write(f"data: {json.dumps(said)}\n\n".encode())
