"""A loopback server that speaks OpenAI's embeddings, and misbehaves when it is told to."""

import asyncio
import base64
import hashlib
import json
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

from tests.served_app import served

Json = dict[str, Any]
Mode = Literal[
    "fine", "mute", "cuts", "cuts once", "garbage", "page", "too few", "backwards", "twice", "zeros", "not a number",
    "other size", "uneven", "all alike", "never alike", "no base64",
]  # fmt: skip

Made = tuple[list[list[float]], int]
"""Vectors of texts, and how many tokens those had."""

DIMENSIONS = 8
MODEL = "played-embedding"
LONGEST = 40
"""Characters of a text."""


def numbers(text: str, *, salt: str = "") -> list[float]:
    """What stands for the vector of a text: of no length in particular."""
    digest = hashlib.sha256(f"{salt}{text}".encode()).digest()
    return [byte / 16 - 8 for byte in digest[:DIMENSIONS]]


@dataclass(kw_only=True)
class PlayedEmbeddingServer:
    """What it can do, what it does now, and what it was asked."""

    mode: Mode = "fine"
    status: int = 200
    """Anything else is what every question is answered with."""
    message: str = "out of luck"
    key: str = ""
    salt: str = ""
    """Another one is another model."""
    takes_base64: bool = True
    counts: bool = True
    models: list[Json] = field(default_factory=lambda: [{"id": MODEL, "max_model_len": 512}])
    embed: Callable[[list[str]], Awaitable[Made]] | None = None
    """A model, where it has one."""
    asked: list[Json] = field(default_factory=list[Json])
    working: int = 0
    """Questions on their way."""
    url: str = ""

    @asynccontextmanager
    async def running(self, port: int = 0, *more: web.RouteDef) -> AsyncIterator["PlayedEmbeddingServer"]:
        """Listen on loopback."""
        app = web.Application(client_max_size=64 << 20)
        app.router.add_get("/v1/models", self._list)
        app.router.add_post("/v1/embeddings", self._embeddings)
        app.add_routes(more)
        async with served(app, port) as self.url:
            yield self

    @property
    def texts(self) -> list[str]:
        """All that it was asked for."""
        return [text for body in self.asked for text in body["input"]]

    def _refusal(self, request: web.Request) -> web.Response | None:
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            message = f"Incorrect API key provided: {request.headers.get('Authorization')}"
            return web.json_response({"error": {"message": message}}, status=401)
        if self.status != 200:
            return web.json_response({"error": {"message": self.message}}, status=self.status)
        return None

    async def _list(self, request: web.Request) -> web.Response:
        return self._refusal(request) or web.json_response({"object": "list", "data": self.models})

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:
        body: Json = await request.json()
        self.asked.append(body)
        if refusal := self._refusal(request):
            return refusal
        if body.get("encoding_format") == "base64" and not self.takes_base64:
            return web.json_response({"error": {"message": "Unsupported parameter: encoding_format"}}, status=400)
        self.working += 1
        try:
            return await self._answer(request, body)
        finally:
            self.working -= 1

    async def _answer(self, request: web.Request, body: Json) -> web.StreamResponse:
        texts: list[str] = body["input"]
        match self.mode:
            case "mute":
                await asyncio.Event().wait()
            case "cuts" | "cuts once":
                self.mode = "cuts" if self.mode == "cuts" else "fine"
                assert request.transport is not None
                request.transport.abort()
                await asyncio.Event().wait()
            case "garbage":
                return web.Response(body=bytes(range(256)), content_type="application/json")
            case "page":
                return web.Response(text="<html>Welcome</html>", content_type="text/html")
            case _:
                pass
        try:
            made = await (self.embed or self._made)(texts)
        except ValueError as error:
            return web.json_response({"error": {"message": str(error)}}, status=400)
        return web.Response(text=json.dumps(self._document(body, *made)), content_type="application/json")

    async def _made(self, texts: list[str]) -> Made:
        if any(len(text) > LONGEST for text in texts if "fox" not in text):  # but for what engines are measured with
            raise ValueError("This model's maximum context length is 10 tokens")
        told = {"all alike": ["same"] * len(texts), "never alike": [str(at) for at in range(len(texts))]}
        vectors = [numbers(text, salt=self.salt) for text in told.get(self.mode, texts)]
        return vectors, sum(len(text.split()) for text in texts)

    def _document(self, body: Json, vectors: list[list[float]], tokens: int) -> Json:
        data = [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(vectors)]
        self._spoil(data)
        if body.get("encoding_format") == "base64":
            for entry in data:
                vector = entry["embedding"]
                packed = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
                entry["embedding"] = "no base64!" if self.mode == "no base64" else packed
        usage = {"usage": {"prompt_tokens": tokens, "total_tokens": tokens}} if self.counts else {}
        return {"object": "list", "model": body["model"], "data": data, **usage}

    def _spoil(self, data: list[Json]) -> None:
        last = data[-1]
        match self.mode:
            case "zeros":
                last["embedding"] = [0.0] * DIMENSIONS
            case "not a number":
                last["embedding"] = [float("inf")] * DIMENSIONS
            case "uneven":
                last["embedding"] = [1.0]
            case "other size":
                for entry in data:
                    entry["embedding"] = entry["embedding"][1:]
            case "too few":
                data.pop()
            case "backwards":
                data.reverse()
            case "twice":
                last["index"] = 0
            case _:
                pass
