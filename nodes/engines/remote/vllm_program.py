"""``vllm serve`` in an environment of its own: started and watched by the node, and asked by nobody else."""

from __future__ import annotations

import os
import re
import secrets
import socket
from typing import TYPE_CHECKING, Final

from nodes.engines.child_server import ChildServer
from nodes.engines.remote.api_key import ApiKey
from nodes.engines.remote.model_folder import ModelFolder
from nodes.errors import EngineUnavailable
from nodes.models.file import model_id_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nodes.engine import VllmSpec
    from nodes.engines.remote.http_server import HttpServer

_SAMPLE: Final = re.compile(r"^(vllm:[a-z_]+)(?:\{[^}]*\})? ([0-9.eE+-]+)$", re.MULTILINE)
_CACHE: Final = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
"""What newer and older versions call the part of the memory for attention that is taken."""
_INSIDE: Final = ("vllm:num_requests_running", "vllm:num_requests_waiting")
_KEY_VARIABLE: Final = "VLLM_API_KEY"


class VllmProgram:
    """One ``vllm serve`` for one model folder. It wants a key that only this process knows."""

    def __init__(
        self, options: VllmSpec, *, model: str | None, model_id: str | None, context_tokens: int, slots: int
    ) -> None:
        """Look whether the program and the model are there.

        Raises:
            EngineUnavailable: one is not; the message says how to get it.
        """
        self._options = options
        self._program = _program(options.program)
        self._folder = folder = ModelFolder(model)
        self.quantisation = folder.quantisation
        """As the model's own file calls it."""
        self.context_tokens = folder.context_tokens(context_tokens)
        """What it is told to serve."""
        self.slots = slots
        """Requests at once."""
        self.name = model_id or model_id_of(folder.path)
        """What it is told to call the model."""
        self.key = ApiKey.of(secret := secrets.token_urlsafe(24))
        """The key that it wants to see."""
        self._secret = secret
        self._port = _free_port()
        self._child: ChildServer | None = None
        self._metrics: dict[str, float] = {}

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """Its guard, and the group of both; None while it does not run."""
        return self._child.pid if self._child is not None else None

    @property
    def cache_used(self) -> float | None:
        """The part of its memory for attention that was taken when its metrics were read last."""
        return next((self._metrics[name] for name in _CACHE if name in self._metrics), None)

    async def start(self, server: HttpServer, *, on_end: Callable[[], None], more: tuple[str, ...] = ()) -> None:
        """Run it with the arguments ``more``, and return when it serves.

        Raises:
            EngineUnavailable: it ended before.
        """
        self._child = ChildServer(
            (*self._command(), *more, *self._options.options),
            environment={_KEY_VARIABLE: self._secret, "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"},
            is_ready=lambda: server.get_text(f"{server.root}/health"),
            on_end=on_end,
        )
        await self._child.start()

    async def stop(self) -> None:
        """End it and all that it started; harmless if called again."""
        if self._child is not None:
            await self._child.stop()

    async def read_metrics(self, server: HttpServer) -> None:
        """Read what it counts.

        Raises:
            EngineError: it does not say.
        """
        text = await server.get_text(f"{server.root}/metrics")
        self._metrics = {name: float(value) for name, value in _SAMPLE.findall(text)}

    @property
    def requests_inside(self) -> int:
        """How many requests it worked on when its metrics were read last."""
        return sum(int(self._metrics.get(name, 0)) for name in _INSIDE)

    def markers(self) -> tuple[str, ...]:
        """List the texts that the tokenizer takes for the model's own, which a message must not hold.

        Raises:
            EngineUnavailable: the model's files cannot be read.
        """
        return self._folder.markers()

    def _command(self) -> tuple[str, ...]:
        options = self._options
        return (
            *(str(self._program), "serve", str(self._folder.path)),
            *("--host", "127.0.0.1", "--port", str(self._port), "--served-model-name", self.name),
            *("--max-model-len", str(self.context_tokens), "--max-num-seqs", str(self.slots)),
            *("--tensor-parallel-size", str(options.tensor_parallel)),
            *("--pipeline-parallel-size", str(options.pipeline_parallel)),
            # Who shares a cache of prefixes can find out by the clock what others have asked.
            "--enable-prefix-caching" if options.prefix_cache else "--no-enable-prefix-caching",
        )


def _program(path: Path) -> Path:
    program = path.expanduser().absolute()
    if not os.access(program, os.X_OK):
        raise EngineUnavailable(
            f"vLLM is not installed: {program} is not there. Run `make vllm`, or name another one by --vllm-program"
        )
    return program


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
