"""``ig3 node``: a model on this machine, at the service of the mesh."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import click

from mesh.config.options import only, settings_options
from mesh.config.settings import MeshSettings
from mesh.processes.process import run_process
from mesh.processes.terminal import terminal
from nodes.errors import EngineStuck
from nodes.process import NodeProcess
from nodes.settings import NodeSettings
from nodes.shards.settings import ShardSettings

if TYPE_CHECKING:
    import asyncio
_EXAMPLES: Final = """\b
Examples:
  ig3 node --nats 10.0.0.5:4222                    # the small model, for a mesh on another machine
  ig3 node --model ~/models/qwen.gguf --slots 2    # another model, two answers at once
  ig3 node --engine llama-cpp-python               # with your own build of llama.cpp
  ig3 node --engine openai --url http://127.0.0.1:11434 --model llama3.2:3b
  ig3 node --engine vllm --model ~/models/Qwen3-8B # as `make vllm` installs it
  ig3 node --engine litellm --cloud-config cloud.yaml
  ig3 node --model none --shard-listen 10.0.0.7:7300 --shard-memory 16GB    # lend memory to shard groups
  ig3 node --model none --shard-model big.gguf --shard-memory 8GB           # serve a model over such nodes
"""


@click.command(epilog=_EXAMPLES)
@settings_options(
    node=NodeSettings,
    shards=ShardSettings,
    mesh=only(MeshSettings, "nats", "nats_ca", "data_dir", "otlp_endpoint", "log_level", "log_format"),
)
def node(node: NodeSettings, shards: ShardSettings, mesh: MeshSettings) -> None:
    """Run a model on this machine and answer tasks.

    The node announces its model to the mesh, with what it measured at start, and works on what it is assigned. It
    proves who it is by a DID, whose key is made at the first start and stays in the data folder. A mesh on another
    machine has to admit it once: until then the node waits, and says how.
    """
    screen = terminal()

    async def main(stop: asyncio.Event) -> None:
        with ExitStack() as bar:
            show = bar.enter_context(screen.progress("Loading the model"))

            def on_fraction(fraction: float) -> None:
                show(fraction)
                if fraction >= 1.0:
                    # The log goes to the same screen from here on.
                    bar.close()

            try:
                await NodeProcess(node, mesh, on_fraction, shards).run(stop)
            except EngineStuck as error:
                # Python would wait for the engine's threads for ever; what starts this process starts another one.
                click.echo(f"ig3: {error}", err=True)
                os._exit(1)

    run_process("node", mesh, main)
