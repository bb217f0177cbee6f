"""Triton over HTTP: ``generate_stream`` of its generate extension."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET, Struct, UnsetType

from nodes.engines.remote.http_server import HttpServer, whole_body
from nodes.engines.remote.sse import data_lines
from nodes.engines.remote.triton_server import READY, TEXT_IN, TritonModel, Wishes, told
from nodes.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class _Indexed(Struct, frozen=True):
    name: str
    state: str = ""


class _Body(Struct, frozen=True, kw_only=True, omit_defaults=True):
    text_input: str
    parameters: Wishes | UnsetType = UNSET


class _Step(Struct, frozen=True):
    text_output: str | list[str] = ""
    error: str | None = None

    @property
    def text(self) -> str:
        return self.text_output if isinstance(self.text_output, str) else "".join(self.text_output)


class TritonOverHttp(HttpServer):
    """See ``TritonServer``."""

    async def check_ready(self, model: str) -> None:
        """Return if the model can be asked."""
        await self.get_text(f"{self.root}/v2/models/{model}/ready")

    async def models(self) -> list[str]:
        """List the models that can be asked."""
        async with self.post(f"{self.root}/v2/repository/index", b"{}") as response:
            body = await whole_body(response)
        try:
            index = msgspec.json.decode(body, type=list[_Indexed])
        except msgspec.DecodeError as error:
            raise EngineError(f"the server sent what cannot be read: {error}") from error
        return [model.name for model in index if model.state in READY]

    async def about(self, model: str) -> TritonModel:
        """Say what a model takes and gives."""
        return msgspec.structs.replace(await self.get(f"{self.root}/v2/models/{model}", TritonModel), name=model)

    async def texts(self, model: TritonModel, prompt: str, wishes: Wishes) -> AsyncGenerator[str, None]:
        """Yield the pieces of one answer."""
        url = f"{self.root}/v2/models/{model.name}/generate_stream"
        async with self.post(url, _body(model, prompt, wishes)) as response:
            async for data in data_lines(response.content):
                try:
                    step = msgspec.json.decode(data, type=_Step)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    raise EngineError(f"the server sent what cannot be read: {error}") from error
                if step.error is not None:
                    raise EngineError(f"Triton failed: {step.error[:300]}")
                yield step.text


def _body(model: TritonModel, prompt: str, wishes: Wishes) -> bytes:
    if not model.takes("max_tokens"):
        return msgspec.json.encode(_Body(text_input=prompt, parameters=wishes))
    return msgspec.json.encode({TEXT_IN: prompt, **{wish.name: wish.value for wish in told(model, wishes)}})
