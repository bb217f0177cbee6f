"""xllamacpp's own HTTP server with the small model, in a process of its own: a real server for engines to ask."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from msgspec.structs import replace

from mesh.processes.die_with_parent import guarded
from nodes.engine import DEFAULT_MODEL, EngineSpec, RemoteSpec

if TYPE_CHECKING:
    from nodes.embedding import EmbeddingSpec

CONTEXT_TOKENS: Final = 512
SLOTS: Final = 2

_PROGRAM: Final = """
import sys, signal, threading
import xllamacpp
from nodes.models.file import find_model
params = xllamacpp.CommonParams()
params.model.path = str(find_model(sys.argv[3] or "smollm2-135m-instruct").path)
params.embedding = bool(sys.argv[3])
context, params.n_parallel = (256, 1) if params.embedding else ({context}, {slots})
params.n_ctx = context * params.n_parallel
params.n_batch = params.n_ubatch = context if params.embedding else 64
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
params.verbosity, params.fit_params, params.ui, params.endpoint_slots = 1, False, False, True
params.hostnames, params.port = ["127.0.0.1"], int(sys.argv[1])
if sys.argv[2]:
    params.api_keys = [sys.argv[2]]
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
signal.pause()
"""


class LlamaHttpServer:
    """Started by ``with``; ``key`` is what callers must show. With a model for that it embeds, else it answers."""

    def __init__(self, *, port: int = 0, key: str = "", embedding_model: Path | None = None) -> None:
        self.url = ""
        self._folder = Path(tempfile.mkdtemp(prefix="ig3-llama-"))
        self._arguments = (str(port), key, str(embedding_model or ""))
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        program = _PROGRAM.format(slots=SLOTS, context=CONTEXT_TOKENS)
        command = guarded([sys.executable, "-c", program, *self._arguments])
        root = Path(__file__).parents[1]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=root
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        assert self.url.startswith("http://127.0.0.1:"), "the server did not start"
        return self

    def asked_by(self, spec: EngineSpec) -> EngineSpec:
        """What an engine needs to ask this server."""
        if spec.engine != "litellm":
            return replace(spec, remote=RemoteSpec(url=self.url))
        provider = {"model": "openai/smollm2", "url": f"{self.url}/v1"}
        model = {"id": DEFAULT_MODEL, "context_tokens": CONTEXT_TOKENS, "slots": SLOTS, "providers": [provider]}
        file = self._folder / "cloud.yaml"
        file.write_text(json.dumps({"models": [model]}))  # JSON is YAML
        return replace(spec, cloud_config=file)

    def embedding_asked_by(self, spec: EmbeddingSpec, model_id: str) -> EmbeddingSpec:
        """What an engine for embeddings needs to ask this server."""
        if spec.engine != "litellm":
            return replace(spec, remote=RemoteSpec(url=self.url))
        provider = {"model": "openai/minilm", "url": f"{self.url}/v1"}
        model = {"id": model_id, "kind": "embedding", "context_tokens": 256, "providers": [provider]}
        file = self._folder / "cloud.yaml"
        file.write_text(json.dumps({"models": [model]}))
        return replace(spec, model=model_id, cloud_config=file)

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.communicate()
        shutil.rmtree(self._folder)
