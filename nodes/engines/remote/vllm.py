"""vLLM: ``vllm serve`` in an environment of its own, run and watched by the node, asked like any chat endpoint."""

from __future__ import annotations

import os
import re
import secrets
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from nodes.engines.child_server import ChildServer
from nodes.engines.plain_text import markers_of
from nodes.engines.remote.api_key import ApiKey
from nodes.engines.remote.openai import OpenAiEngine
from nodes.errors import EngineUnavailable
from nodes.model_file import model_id_of

if TYPE_CHECKING:
    from nodes.engine import EngineLoad, EngineSpec, OnLoading
    from nodes.engines.remote.model_list import ListedModel, ServerFacts
    from streams.replica import Replica

_T = TypeVar("_T", bound=Struct)

_SLOTS: Final = 8
_SAMPLE: Final = re.compile(r"^(vllm:[a-z_]+)(?:\{[^}]*\})? ([0-9.eE+-]+)$", re.MULTILINE)
_CACHE: Final = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
"""What newer and older versions call the part of the memory for attention that is taken."""
_KEY_VARIABLE: Final = "VLLM_API_KEY"


class _Config(Struct, frozen=True):
    """What ``config.json`` of a model says, as far as it is asked here."""

    max_position_embeddings: int | None = None
    quantization_config: dict[str, object] | None = None
    dtype: str | None = None
    torch_dtype: str | None = None


class _AddedToken(Struct, frozen=True):
    content: str
    special: bool = False


class _Tokenizer(Struct, frozen=True):
    added_tokens: list[_AddedToken] = []


class _TokenizerConfig(Struct, frozen=True):
    added_tokens_decoder: dict[str, _AddedToken] = {}
    chat_template: str | list[object] | None = None


class VllmEngine(OpenAiEngine):
    """One model folder in one ``vllm serve``. Nobody else can ask that: it wants a key that only this process knows."""

    def __init__(self, spec: EngineSpec, on_loading: OnLoading) -> None:
        """Look whether the program and the model are there.

        Raises:
            EngineUnavailable: one is not; the message says how to get it.
        """
        self._program = _program(spec.vllm.program)
        self._folder = _folder(spec.model)
        config = _read(self._folder / "config.json", _Config)
        self._quantisation = str(
            (config.quantization_config or {}).get("quant_method") or config.dtype or config.torch_dtype
        )
        context = min(spec.context_tokens, config.max_position_embeddings or spec.context_tokens)
        name = spec.model_id or model_id_of(self._folder)
        own = replace(spec, model=name, context_tokens=context, slots=spec.slots or _SLOTS)
        self._secret = secrets.token_urlsafe(24)
        port = _free_port()
        super().__init__(
            replace(own, remote=replace(spec.remote, url=f"http://127.0.0.1:{port}")),
            on_loading,
            key=ApiKey.of(self._secret),
        )
        self._metrics: dict[str, float] = {}
        self._child = ChildServer(
            self._command(own, port),
            environment={_KEY_VARIABLE: self._secret, "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"},
            is_ready=lambda: self._server.get_text(f"{self._server.root}/health"),
            on_end=self._presence.doubt,
        )

    @property
    def child_pid(self) -> int | None:
        """The process of ``vllm serve``, and its group; None while it does not run."""
        return self._child.pid

    async def start(self) -> Replica:
        """Start the program, wait until it has loaded the model, and find out what it can do."""
        self._server.open()
        try:
            await self._child.start()
        except BaseException:
            await self.stop()
            raise
        return replace(await super().start(), engine="vllm", quantisation=self._quantisation)

    async def stop(self) -> None:
        """Cut every connection, then end the program and all that it started."""
        await super().stop()
        await self._child.stop()

    def load(self) -> EngineLoad:
        """Count the requests; with it goes what vLLM said last of its cache."""
        used = next((self._metrics[name] for name in _CACHE if name in self._metrics), None)
        return replace(super().load(), cache_used=used)

    async def requests_inside(self) -> int:
        """Ask vLLM itself how many requests it works on, beside our own count in `load`."""
        await self._read_metrics()
        names = ("vllm:num_requests_running", "vllm:num_requests_waiting")
        return sum(int(self._metrics.get(name, 0)) for name in names)

    async def _look(self) -> None:
        await super()._look()
        await self._read_metrics()

    async def _read_metrics(self) -> None:
        text = await self._server.get_text(f"{self._server.root}/metrics")
        self._metrics = {name: float(value) for name, value in _SAMPLE.findall(text)}

    async def _facts(self, model: ListedModel) -> ServerFacts:
        return replace(await super()._facts(model), slots=self._spec.slots, markers=_markers(self._folder))

    def _command(self, spec: EngineSpec, port: int) -> tuple[str, ...]:
        options = spec.vllm
        return (
            *(str(self._program), "serve", str(self._folder)),
            *("--host", "127.0.0.1", "--port", str(port), "--served-model-name", spec.model),
            *("--max-model-len", str(spec.context_tokens), "--max-num-seqs", str(spec.slots)),
            *("--tensor-parallel-size", str(options.tensor_parallel)),
            *("--pipeline-parallel-size", str(options.pipeline_parallel)),
            # Who shares a cache of prefixes can find out by the clock what others have asked.
            "--enable-prefix-caching" if options.prefix_cache else "--no-enable-prefix-caching",
            *options.options,
        )


def _program(path: Path) -> Path:
    program = path.expanduser().absolute()
    if not os.access(program, os.X_OK):
        raise EngineUnavailable(
            f"vLLM is not installed: {program} is not there. Run `make vllm`, or name another one by --vllm-program"
        )
    return program


def _folder(model: str) -> Path:
    folder = Path(model).expanduser().absolute()
    if not (folder / "config.json").is_file():
        raise EngineUnavailable(
            f"{model!r} is no model of vLLM's: give a folder with config.json and weights by --model"
        )
    return folder


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _read(path: Path, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError) as error:
        raise EngineUnavailable(f"{path} cannot be used: {error}") from error


def _markers(folder: Path) -> tuple[str, ...]:
    """The texts that the tokenizer takes for the model's own, which a message must not hold."""
    config, tokenizer, jinja = (
        folder / name for name in ("tokenizer_config.json", "tokenizer.json", "chat_template.jinja")
    )
    older = _read(config, _TokenizerConfig) if config.is_file() else _TokenizerConfig()
    newer = _read(tokenizer, _Tokenizer) if tokenizer.is_file() else _Tokenizer()
    added = (*older.added_tokens_decoder.values(), *newer.added_tokens)
    template = older.chat_template if isinstance(older.chat_template, str) else ""
    template += jinja.read_text("utf-8") if jinja.is_file() else ""
    return tuple(sorted({token.content for token in added if token.special} | set(markers_of(template))))
