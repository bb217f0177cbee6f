"""xllamacpp's own HTTP server with the small model, in a process of its own: a real server for engines to ask."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final, Self

from mesh.processes.die_with_parent import guarded

CONTEXT_TOKENS: Final = 512
SLOTS: Final = 2

_PROGRAM: Final = """
import sys, signal, threading
import xllamacpp
from nodes.model_file import find_model
params = xllamacpp.CommonParams()
params.model.path = str(find_model("smollm2-135m-instruct").path)
params.n_parallel, params.n_ctx = {slots}, {context} * {slots}
params.n_batch = params.n_ubatch = 64
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
    """Started by ``with``; ``key`` is what callers must show."""

    def __init__(self, *, port: int = 0, key: str = "") -> None:
        self.url = ""
        self._arguments = (str(port), key)
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

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.communicate()
