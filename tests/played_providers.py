"""Loopback servers in the formats of four providers, as documented: OpenAI, Anthropic, Gemini and Mistral."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.played_chat_server import words
from tests.served_app import served

Json = dict[str, Any]
PROMPT_TOKENS = 7


class _Cut(Exception):
    """A provider breaks off."""


@dataclass(kw_only=True)
class PlayedProviders:
    """What each was asked and with which key, and the status that each answers with by its name."""

    asked: list[tuple[str, str, Json]] = field(default_factory=list[tuple[str, str, Json]])
    status: dict[str, int] = field(default_factory=dict[str, int])
    cut: set[str] = field(default_factory=set[str])
    """Who breaks off after two words."""
    hangs_up: dict[str, int] = field(default_factory=dict[str, int])
    """Who closes the connection instead of an answer, and how many times: as on a kept one that was idle too long."""
    endless: bool = False
    echoes: bool = False
    """Whether what is said last is said again, three characters at a time, instead of a story."""
    writing: int = 0
    url: str = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator["PlayedProviders"]:
        app = web.Application()
        app.router.add_post("/{name:openai|mistral}/v1/chat/completions", self._openai)
        app.router.add_post("/anthropic/v1/messages", self._anthropic)
        app.router.add_post("/gemini/{path:.*}", self._gemini)
        async with served(app) as self.url:
            yield self

    @asynccontextmanager
    async def _stream(self, request: web.Request) -> AsyncIterator[web.StreamResponse]:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        self.writing += 1
        try:
            yield response
        except _Cut:
            assert request.transport is not None
            request.transport.abort()
        finally:
            self.writing -= 1

    async def _told(self, name: str, key: str, request: web.Request) -> tuple[Json, web.Response | None]:
        body: Json = await request.json()
        self.asked.append((name, key, body))
        if self.hangs_up.get(name, 0):
            self.hangs_up[name] -= 1
            assert request.transport is not None
            request.transport.abort()
            await asyncio.Event().wait()
        status = self.status.get(name, 200)
        if status == 200:
            return body, None
        error = {"type": "error", "message": f"{name} says no to key {key}", "code": status}
        return body, web.json_response({"type": "error", "error": error}, status=status)

    async def _texts(self, name: str, count: int) -> AsyncIterator[str]:
        for number, word in enumerate(words("", 10**6 if self.endless else count)):
            if name in self.cut and number == 2:
                raise _Cut
            yield word
            await asyncio.sleep(0.005 if self.endless else 0)

    async def _echo(self, body: Json) -> AsyncIterator[str]:
        said = body["messages"][-1]["content"]
        for at in range(0, len(said), 3):
            yield said[at : at + 3]

    async def _openai(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        body, refusal = await self._told(name, key, request)
        if refusal:
            return refusal
        count = body.get("max_tokens") or body.get("max_completion_tokens") or 5
        frame: Json = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
        async with self._stream(request) as response:
            async for word in self._echo(body) if self.echoes else self._texts(name, count):
                choice = {"index": 0, "delta": {"role": "assistant", "content": word}, "finish_reason": None}
                await say(response, {**frame, "choices": [choice]})
            last = {**frame, "choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}
            usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": count, "total_tokens": PROMPT_TOKENS + count}
            if name == "mistral":  # counts without being asked, in the chunk that ends the answer
                await say(response, {**last, "usage": usage})
            else:
                await say(response, last)
                await say(response, {**frame, "choices": [], "usage": usage})
            await response.write(b"data: [DONE]\n\n")
        return response

    async def _anthropic(self, request: web.Request) -> web.StreamResponse:
        body, refusal = await self._told("anthropic", request.headers.get("x-api-key", ""), request)
        if refusal:
            return refusal
        count = body["max_tokens"]
        message = {
            "id": "1", "type": "message", "role": "assistant", "model": body["model"], "content": [],
            "stop_reason": None, "usage": {"input_tokens": PROMPT_TOKENS, "output_tokens": 1},
        }  # fmt: skip
        async with self._stream(request) as response:
            await say(response, {"type": "message_start", "message": message}, named=True)
            start = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
            await say(response, start, named=True)
            async for word in self._texts("anthropic", count):
                delta = {"type": "text_delta", "text": word}
                await say(response, {"type": "content_block_delta", "index": 0, "delta": delta}, named=True)
            await say(response, {"type": "content_block_stop", "index": 0}, named=True)
            end = {"delta": {"stop_reason": "max_tokens"}, "usage": {"output_tokens": count}}
            await say(response, {"type": "message_delta", **end}, named=True)
            await say(response, {"type": "message_stop"}, named=True)
        return response

    async def _gemini(self, request: web.Request) -> web.StreamResponse:
        key = request.headers.get("x-goog-api-key", "") or request.query.get("key", "")
        body, refusal = await self._told("gemini", key, request)
        if refusal:
            return refusal
        count = body["generationConfig"]["max_output_tokens"]
        async with self._stream(request) as response:
            async for word in self._texts("gemini", count):
                content = {"role": "model", "parts": [{"text": word}]}
                await say(response, {"candidates": [{"index": 0, "content": content}]})
            usage = {"promptTokenCount": PROMPT_TOKENS, "candidatesTokenCount": count}
            usage["totalTokenCount"] = PROMPT_TOKENS + count
            content = {"role": "model", "parts": [{"text": ""}]}
            end = {"candidates": [{"index": 0, "content": content, "finishReason": "MAX_TOKENS"}]}
            await say(response, {**end, "usageMetadata": usage})
        return response


async def say(response: web.StreamResponse, event: Json, *, named: bool = False) -> None:
    """Write one event; Anthropic's carry their type as a name too."""
    name = f"event: {event['type']}\n" if named else ""
    await response.write(f"{name}data: {json.dumps(event)}\n\n".encode())
