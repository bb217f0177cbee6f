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
        body: Json = await request.json()
        self.asked.append(body)
        if self.mode == "refuses":
            return web.json_response({"error": "expected 1 input"}, status=400)
        limit = body.get("max_tokens") or body["parameters"]["max_tokens"]
        prompt: str = body["text_input"]
        if len(prompt.split()) > self.context_tokens:
            refused = f"the prompt is longer than the maximum context length of {self.context_tokens} tokens"
            return web.json_response({"error": refused}, status=400)
        begun = prompt.rpartition("assistant\n")[2] if "<|im_start|>" in prompt else prompt.rpartition("Assistant: ")[2]
        # Asked for a name only, the model ends its turn by itself.
        length = min(limit, SHORT_TURN if "name only" in prompt else 10_000)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        self.writing += 1
        try:
            for number, word in enumerate(words(begun, length) if self.mode != "nothing" else ()):
                said: Json = {"model_name": "words", "model_version": "1", "text_output": word}
                if self.mode == "says error" and number == 2:
                    said = {"error": "out of luck"}
                await response.write(f"data: {json.dumps(said)}\n\n".encode())
                await asyncio.sleep(self.token_delay_s)
        finally:
            self.writing -= 1
        return response
