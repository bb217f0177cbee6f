"""What behaves like ``vllm serve`` as far as a node sees it, with words in the place of a model; with the runner
for pooling it embeds, by the small model that comes with ``make install``.

Run by the node's own supervision: ``stand_in_vllm.py serve FOLDER --port N ...``. Like vLLM it has processes that
work for it, one in a session of its own. ``--boom`` and ``--bang`` end it before it serves; a file ``crash`` in the
folder ends it while it does.
"""

import asyncio
import os
import struct
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from nodes.embedding import Embed, EmbeddingSpec
from nodes.engines.embedding import open_embedding_engine
from nodes.errors import RequestRefused
from tests.played_chat_server import PlayedChatServer
from tests.played_embedding_server import Made, PlayedEmbeddingServer

TRACE = """  File "/vllm/v1/engine/utils.py", line 1351, in launch_core_engines
    wait_for_engine_startup(
"""
ROOT = Path(__file__).parents[1]
LAST_WORDS = {
    "--boom": """
pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig
  Value error, CUDA is out of memory [type=value_error]
    For further information visit https://errors.pydantic.dev/2.14/v/value_error""",
    "--bang": f"""
(Worker pid=3) ERROR 11-28 21:21:57 [multiproc_executor.py:953] _rust.SafetensorError: Error while deserializing header
(APIServer pid=1) WARNING 11-28 21:22:02 [system_utils.py:255] Errors like `OSError: Too many open files` may follow.
(EngineCore pid=2) ERROR 11-28 21:22:03 [core.py:1510] Exception: WorkerProc failed. See stack trace for root cause.
{TRACE * 20}Exception: WorkerProc failed. See stack trace for root cause.
{TRACE * 20}    raise RuntimeError(
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {{}}""",
}
"""What vLLM 0.32 says when it is told something impossible, and when a file of weights is cut off; shortened."""


def installed_in(folder: Path) -> Path:
    """Make a command of it, like ``.venvs/vllm/bin/vllm``."""
    script = folder / "vllm"
    script.write_text(f'#!/bin/sh\ncd {ROOT} && exec {sys.executable} -m tests.stand_in_vllm "$@"\n')
    script.chmod(0o755)
    return script


def option(arguments: list[str], name: str) -> str:
    return arguments[arguments.index(name) + 1]


async def minilm() -> Callable[[list[str]], Awaitable[Made]]:
    """The small embedding model, in the place of a large one; too long a text is refused in vLLM's words."""
    engine = open_embedding_engine(EmbeddingSpec())
    await engine.start()

    async def embed(texts: list[str]) -> Made:
        try:
            embedded = await engine.embed(Embed(texts=tuple(texts)))
        except RequestRefused as refused:
            raise ValueError(f"This model's maximum context length is 256 tokens. {refused.message}") from refused
        vectors = [list(struct.unpack(f"<{len(vector) // 4}f", vector)) for vector in embedded.vectors]
        return vectors, embedded.usage.prompt_tokens

    return embed


async def serve(arguments: list[str]) -> None:
    folder = Path(arguments[0])
    model = {
        "id": option(arguments, "--served-model-name"),
        "owned_by": "vllm",
        "max_model_len": int(option(arguments, "--max-model-len")),
    }
    key = os.environ["VLLM_API_KEY"]
    if "pooling" in arguments:
        server = PlayedEmbeddingServer(key=key, models=[model], embed=await minilm())
    else:
        server = PlayedChatServer(
            key=key, models=[model], usage="running", continues="flags", token_delay_s=0.005,
            context_tokens=int(option(arguments, "--max-model-len")), raw="as it stands",
        )  # fmt: skip

    def busy() -> int:
        return server.working if isinstance(server, PlayedEmbeddingServer) else server.writing

    async def health(_: web.Request) -> web.Response:
        if (folder / "crash").exists():
            os._exit(3)
        return web.Response()

    async def metrics(_: web.Request) -> web.Response:
        lines = (
            "# HELP vllm:num_requests_running Number of requests.",
            f'vllm:num_requests_running{{engine="0",model_name="{model["id"]}"}} {float(busy())}',
            f'vllm:num_requests_waiting{{engine="0",model_name="{model["id"]}"}} 0.0',
            f'vllm:kv_cache_usage_perc{{engine="0",model_name="{model["id"]}"}} 0.25',
        )
        return web.Response(text="\n".join(lines) + "\n")

    async with server.running(
        int(option(arguments, "--port")), web.get("/health", health), web.get("/metrics", metrics)
    ):
        while not (folder / "crash").exists():  # noqa: ASYNC110  there is no event to wait for
            await asyncio.sleep(0.02)
    os._exit(3)


def main() -> None:
    arguments = sys.argv[2:]
    for boom, last_words in LAST_WORDS.items():
        if boom in arguments:
            sys.exit(last_words)
    folder = Path(arguments[0])
    (folder / "arguments").write_text("\n".join(sys.argv[1:]))
    works = [subprocess.Popen(["/bin/sleep", "1000"], start_new_session=apart).pid for apart in (False, True)]
    (folder / "pids").write_text(" ".join(map(str, (os.getpid(), *works))))
    asyncio.run(serve(arguments))


if __name__ == "__main__":
    main()
