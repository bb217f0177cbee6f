"""A loopback server that speaks OpenAI's chat completions, and misbehaves when it is told to."""

import asyncio
import json
import zlib
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

from tests.served_app import served

Json = dict[str, Any]
Mode = Literal[
    "fine", "hangs", "mute", "cuts", "garbage", "no json", "endless line", "no usage", "no reason", "says error",
    "wild", "page", "elsewhere", "in one piece", "leaks",
]  # fmt: skip

WORDS = ("lorem", "ipsum", "dolor", "sit", "amet", "tempor", "magna", "aliqua", "enim", "minim", "veniam", "quis")
MODEL = "played"


def words(begun: str, count: int) -> list[str]:
    """What comes behind ``begun``: one word a token, always the same story."""
    at = begun.count(" ")
    cut = begun.rpartition(" ")[2]
    first = f"{WORDS[at % len(WORDS)]} ".removeprefix(cut)
    return [first, *(f"{WORDS[(at + n) % len(WORDS)]} " for n in range(1, count))]


def colour_of(parts: list[Json]) -> str:
    """What a model would see in a picture of one colour."""
    url = next(part["image_url"]["url"] for part in parts if part["type"] == "image_url")
    png = b64decode(url.removeprefix("data:image/png;base64,"), validate=True)
    begin = png.index(b"IDAT") + 4
    red, _, blue = zlib.decompressobj().decompress(png[begin:])[1:4]
    return "Red." if red > blue else "Blue."


@dataclass(kw_only=True)
class PlayedChatServer:
    """What it can do, what it does now, and what it was asked."""

    mode: Mode = "fine"
    status: int = 200
    """Anything else is what every question is answered with."""
    message: str = "out of luck"
    key: str = ""
    continues: Literal["trailing", "flags", "continue_", "no"] = "trailing"
    usage: Literal["running", "final", "none"] = "final"
    refused: frozenset[str] = frozenset()
    """Fields of a request that it does not take."""
    able: frozenset[str] = frozenset()
    """What it does beyond text; all else that it is asked for it ignores."""
    models: list[Json] = field(default_factory=lambda: [{"id": MODEL}])
    raw: Literal["as it stands", "in a template", "no"] = "no"
    """What it does with a prompt that is no chat."""
    raw_logprobs: bool = True
    lists: bool = True
    token_delay_s: float = 0.0
    context_tokens: int = 1_000_000
    """Words that a prompt may have."""
    one_at_a_time: bool = False
    asked: list[Json] = field(default_factory=list[Json])
    writing: int = 0
    """Answers on their way."""
    given_up: int = 0
    """Answers whose reader has gone."""
    url: str = ""
    _turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))

    @asynccontextmanager
    async def running(self, port: int = 0, *more: web.RouteDef) -> AsyncIterator["PlayedChatServer"]:
        """Listen on loopback."""
        app = web.Application()
        app.router.add_get("/v1/models", self._list)
        app.router.add_post("/v1/chat/completions", self._chat)
        if self.raw != "no":
            app.router.add_post("/v1/completions", self._completions)
        app.router.add_get("/api/ps", self._loaded)
        app.add_routes(more)
        async with served(app, port) as self.url:
            yield self

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def _refusal(self, request: web.Request) -> web.Response | None:
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            message = f"Incorrect API key provided: {request.headers.get('Authorization')}"
            return web.json_response({"error": {"message": message}}, status=401)
        if self.status != 200:
            return web.json_response({"error": {"message": self.message}}, status=self.status)
        return None

    def _unfit(self, body: Json) -> web.Response | None:
        message = ""
        if unknown := self.refused & body.keys():
            message = f"Unsupported parameter: {min(unknown)}"
        elif self._usage(body, 0)["prompt_tokens"] > self.context_tokens:
            message = f"This model's maximum context length is {self.context_tokens} tokens."
        return web.json_response({"error": {"message": message}}, status=400) if message else None

    async def _list(self, request: web.Request) -> web.Response:
        if not self.lists:
            return web.Response(status=404)
        return self._refusal(request) or web.json_response({"object": "list", "data": self.models})

    async def _loaded(self, _: web.Request) -> web.Response:
        return web.json_response({"models": [{"model": MODEL, "context_length": 4096}]})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body: Json = await request.json()
        self.asked.append(body)
        if refusal := self._refusal(request) or self._unfit(body):
            return refusal
        match self.mode:
            case "mute":
                await asyncio.Event().wait()
            case "page":
                return web.Response(text="<html>Welcome</html>", content_type="text/html")
            case "elsewhere":
                return web.Response(status=302, headers={"Location": f"{self.url}/v1/models"})
            case "leaks":
                said = f"the key {self.key} is fine, but sk-{'x' * 20} is not"
                return web.json_response({"error": {"message": said}}, status=500)
            case "in one piece":
                return web.json_response(self._whole(body))
            case _:
                pass
        self.writing += 1
        try:
            if self.one_at_a_time:
                async with self._turn:
                    return await self._stream(request, body)
            return await self._stream(request, body)
        except (ConnectionError, asyncio.CancelledError):
            self.given_up += 1
            raise
        finally:
            self.writing -= 1

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        """As vLLM has it: text, and the older form of logprobs; what it writes goes on from the end of the prompt."""
        body: Json = await request.json()
        self.asked.append(body)
        if refusal := self._refusal(request) or self._unfit({"messages": [{"content": body["prompt"]}]}):
            return refusal
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        prompt, limit = body["prompt"], body.get("max_tokens", 16)
        _, first, rest = prompt.partition(WORDS[0])
        begun = first + rest if self.raw == "as it stands" else ""
        biased = [f"w{token} " for token in body.get("logit_bias") or ()] * limit if "logit_bias" in self.able else []
        answer = biased or words(begun, limit)
        length = len(prompt.split()) + (9 if self.raw == "in a template" else 0)
        for count, word in enumerate(answer, start=1):
            choice: Json = {"index": 0, "text": word, "logprobs": None, "finish_reason": None}
            if count == len(answer):
                choice["finish_reason"] = "length"
            if "logprobs" in self.able and self.raw_logprobs and body.get("logprobs"):
                likely = {f"{word}{n}": -1.0 - n for n in range(body["logprobs"] + 1)}
                choice["logprobs"] = {
                    "text_offset": [0], "tokens": [word], "token_logprobs": [-0.5], "top_logprobs": [likely],
                }  # fmt: skip
            usage = {"prompt_tokens": length, "completion_tokens": count} if self.usage == "running" else None
            await self._say(response, {"choices": [choice], "usage": usage})
            await asyncio.sleep(self.token_delay_s)
        if self.usage == "final":
            usage = {"prompt_tokens": length, "completion_tokens": len(answer)}
            await self._say(response, {"choices": [], "usage": usage})
        await response.write(b"data: [DONE]\n\n")
        return response

    def _answer(self, body: Json) -> list[str]:
        last = body["messages"][-1]
        goes_on = {
            "trailing": True, "flags": "continue_final_message" in body, "continue_": "continue_" in body, "no": False,
        }[self.continues]  # fmt: skip
        begun = last["content"] if last["role"] == "assistant" and goes_on else ""
        limit = body.get("max_tokens") or body.get("max_completion_tokens") or 12
        if "logit_bias" in self.able and body.get("logit_bias"):
            return [f"w{token} " for token in body["logit_bias"]] * limit
        if "schema" in self.able and "response_format" in body:
            return ['{"sea":', ' "calm"}']
        if "vision" in self.able and isinstance(last["content"], list):
            return [colour_of(last["content"])]
        return words(begun, limit)

    def _calls(self, body: Json) -> list[Json]:
        """The deltas of its calls: each of two pieces."""
        choice = body.get("tool_choice", "auto")
        if "tools" not in self.able or not body.get("tools") or choice == "none":
            return []
        names = [tool["function"]["name"] for tool in body["tools"]]
        if isinstance(choice, dict):
            names = [choice["function"]["name"]]
        elif body.get("parallel_tool_calls") is False:
            names = names[:1]
        deltas: list[Json] = []
        for index, name in enumerate(names):
            begun = {"index": index, "id": f"call_{name}", "type": "function"}
            deltas.append({**begun, "function": {"name": name, "arguments": '{"word": '}})
            deltas.append({"index": index, "function": {"arguments": '"sea"}'}})
        return deltas

    def _usage(self, body: Json, tokens: int) -> Json:
        said = (turn["content"] for turn in body["messages"])
        prompt = sum(len(text.split()) for text in said if isinstance(text, str))
        wild = 1000 if self.mode == "wild" else 1
        return {"prompt_tokens": prompt * wild, "completion_tokens": tokens * wild}

    def _whole(self, body: Json) -> Json:
        text = "".join(self._answer(body))
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "length"}
        return {"choices": [choice], "usage": self._usage(body, text.count(" "))}

    async def _stream(self, request: web.Request, body: Json) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b": well\n\n")
        if calls := self._calls(body):
            return await self._stream_calls(response, body, calls)
        answer, said = self._answer(body), 0
        stops = body.get("stop") or []
        for word in answer:
            if self.mode != "fine" and said == 3 and await self._misbehave(response):
                return response
            if any(stop in word for stop in stops):
                break
            said += 1
            usage = self._usage(body, said) if self.usage == "running" else None
            choice: Json = {"index": 0, "delta": {"content": word}}
            if "logprobs" in self.able and body.get("logprobs"):
                likely = [{"token": f"{word}{n}", "logprob": -1.0 - n} for n in range(body.get("top_logprobs", 0))]
                choice["logprobs"] = {"content": [{"token": word, "logprob": -0.5, "top_logprobs": likely}]}
            await self._say(response, {"choices": [choice], "usage": usage})
            await asyncio.sleep(self.token_delay_s)
        limited = "max_tokens" in body or "max_completion_tokens" in body
        reason = "length" if limited and said == len(answer) else "stop"
        if self.mode != "no reason":
            await self._say(response, {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
        if self.usage != "none" and self.mode != "no usage" and "stream_options" in body:
            await self._say(response, {"choices": [], "usage": self._usage(body, said)})
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _stream_calls(self, response: web.StreamResponse, body: Json, calls: list[Json]) -> web.StreamResponse:
        for call in calls:
            await self._say(response, {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]})
        reason = "tool_calls" if body.get("tool_choice") in (None, "auto") else "stop"
        await self._say(response, {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
        if self.usage != "none" and "stream_options" in body:
            await self._say(response, {"choices": [], "usage": self._usage(body, 9)})
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _misbehave(self, response: web.StreamResponse) -> bool:
        """In the middle of an answer; returns whether that ends it."""
        match self.mode:
            case "hangs":
                await asyncio.Event().wait()
            case "cuts":
                assert response._req is not None
                assert response._req.transport is not None
                response._req.transport.abort()
            case "garbage":
                await response.write(bytes(range(256)) * 40 + b"\n\n")
                await response.write(b"data: \xff\xfe{{{\n\n")
            case "no json":
                await response.write(b'data: {"choices": "none"}\n\n')
            case "endless line":
                for _ in range(40):
                    await response.write(b"data: " + b"x" * 65536)
            case "says error":
                await self._say(response, {"error": {"message": self.message, "code": "boom"}})
            case _:
                return False
        return True

    async def _say(self, response: web.StreamResponse, chunk: Json) -> None:
        await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
