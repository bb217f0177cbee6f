"""``ig3 models``: the model store of a mesh."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mesh.client.chat_session import printable
from mesh.config.options import only, settings_options
from mesh.config.settings import MeshSettings
from mesh.inspection.operator_bus import run_on_bus
from mesh.inspection.tables import Column, print_table, show_size
from mesh.models.push import Push, sha256_of
from mesh.models.store import ModelStore
from mesh.models.wishes import read_wishes
from mesh.processes.terminal import terminal
from nodes.commands.placing import evict, place, scale
from nodes.errors import EngineUnavailable
from nodes.models.file import model_id_of
from nodes.models.gguf import read_header
from streams.clock import now_ms
from streams.models.store import StoredModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from mesh.bus.service_bus import Bus
    from mesh.processes.terminal import Terminal
    from nodes.models.gguf import GgufHeader
    from streams.devices.roster import Wish

_PLACE: Final = only(MeshSettings, "nats", "data_dir", "replicas")
_LONGEST_TEXT: Final = 128
_LONGEST_NAME: Final = 256
_EXAMPLES: Final = """\b
Examples:
  ig3 models push ~/models/qwen2.5-0.5b-instruct-q4_k_m.gguf
  ig3 models list
  ig3 node --model store:qwen2.5-0.5b-instruct    # a node that fetches it
  ig3 models place qwen2.5-0.5b-instruct --replicas 2          # on two nodes
  ig3 models place qwen2.5-0.5b-instruct --replicas 2 --region eu    # on two nodes that say this region
  ig3 models scale qwen2.5-0.5b-instruct --min 0 --max 3       # as many as are asked for
  ig3 models evict qwen2.5-0.5b-instruct
  ig3 models remove qwen2.5-0.5b-instruct
"""


@click.group(epilog=_EXAMPLES)
def models() -> None:
    """Keep model files in the mesh, from where nodes fetch them.

    The store is the Object Store of the broker, which services alone can write. Run this where the broker's data folder
    is.
    """


@models.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--name", metavar="ID", help="What the model is called.  [default: made from the file's name]")
@settings_options(mesh=_PLACE)
def push(file: Path, name: str | None, mesh: MeshSettings) -> None:
    """Put a GGUF file into the store.

    Its header is checked first. A push that broke off goes on where it was; the same file again changes nothing.
    """
    header = read_header(file)
    screen = terminal()
    model = _described(file, name or model_id_of(file), header, screen)
    _print_model(screen, model)

    async def work(bus: Bus) -> None:
        store = ModelStore(bus.core)
        await store.make(mesh.copies)
        known = await store.find(model.name)
        if known is not None and known.model.sha256 == model.sha256:
            screen.err.print("The store has it already.", markup=False)
            return
        with screen.progress(f"Pushing {model.name}") as show:
            await Push(store, model, file).run(show)

    run_on_bus(mesh, "models", work)
    click.echo(model.name)


@models.command(name="list")
@settings_options(mesh=_PLACE)
def list_models(mesh: MeshSettings) -> None:
    """List the models of the store, how many replicas of each are wanted, and where."""
    found: list[StoredModel] = []
    wanted: dict[str, str] = {}

    async def work(bus: Bus) -> None:
        found.extend(stored.model for stored in await ModelStore(bus.core).list_all())
        wanted.update({wish.model: _in_words(wish) for wish in await read_wishes(bus.core)})

    run_on_bus(mesh, "models", work)
    columns = (
        *(Column("MODEL"), Column("SIZE", right=True), Column("ARCHITECTURE"), Column("QUANTISATION")),
        *(Column("CONTEXT", right=True), Column("LICENCE"), Column("WANTED"), Column("SHA-256")),
    )
    rows = [
        (
            *(model.name, show_size(model.size_bytes), model.architecture, model.quantisation or ""),
            *(
                f"{model.context_tokens or 0:,}",
                model.licence or "not stated",
                wanted.get(model.name, ""),
                model.sha256[:12],
            ),
        )
        for model in found
    ]
    print_table(terminal(), columns, rows)


for _command in (place, scale, evict):
    models.add_command(_command)


@models.command()
@click.argument("name")
@settings_options(mesh=_PLACE)
def show(name: str, mesh: MeshSettings) -> None:
    """Show what the store knows of a model."""

    async def work(bus: Bus) -> None:
        stored = await ModelStore(bus.core).need(name)
        _print_model(terminal(), stored.model, to_out=True)

    run_on_bus(mesh, "models", work)


@models.command()
@click.argument("name")
@settings_options(mesh=_PLACE)
def remove(name: str, mesh: MeshSettings) -> None:
    """Remove a model from the store; nodes that have fetched it keep it."""

    async def work(bus: Bus) -> None:
        await ModelStore(bus.core).remove(name)

    run_on_bus(mesh, "models", work)


def _in_words(wish: Wish) -> str:
    if not wish.most:
        return ""
    count = str(wish.wanted) if wish.most == wish.least else f"{wish.wanted} of {wish.least} to {wish.most}"
    kept = ", ".join(f"{number} in {region}" for region, number in wish.wanted_in.items())
    only = f", only in {', '.join(wish.desired.regions)}" if wish.desired.regions else ""
    return f"{count}{f' ({kept})' if kept else ''}{only}"


def _described(file: Path, name: str, header: GgufHeader, screen: Terminal) -> StoredModel:
    try:
        with screen.progress(f"Reading {file.name}") as show_read:
            digest = sha256_of(file, show_read)
    except OSError as error:
        raise EngineUnavailable(f"cannot read model file {file}: {error.strerror}") from error
    model = StoredModel(
        name=name,
        sha256=digest,
        size_bytes=header.file_bytes,
        pushed_at_ms=now_ms(),
        architecture=printable(header.architecture)[:_LONGEST_TEXT],
        quantisation=header.quantisation,
        licence=printable(header.licence or "")[:_LONGEST_TEXT] or None,
        context_tokens=header.context_tokens,
        parameters=header.parameters,
        cache_bytes_per_token=header.cache_bytes_per_token,
    )
    if not name or len(name) > _LONGEST_NAME or printable(name) != name:
        raise EngineUnavailable(f"{name[:_LONGEST_NAME]!r} is no name of a model: give another one with --name")
    return model


def _print_model(screen: Terminal, model: StoredModel, *, to_out: bool = False) -> None:
    write: Callable[..., None] = (screen.out if to_out else screen.err).print
    facts = (
        ("model", model.name),
        ("size", f"{show_size(model.size_bytes)} ({model.size_bytes:,} bytes, {model.chunks:,} chunks)"),
        ("architecture", model.architecture),
        ("quantisation", model.quantisation or "unknown"),
        ("parameters", f"{model.parameters:,}" if model.parameters else "unknown"),
        ("context", f"{model.context_tokens:,} tokens" if model.context_tokens else "unknown"),
        ("licence", model.licence or "not stated in the file"),
        ("sha-256", model.sha256),
    )
    for title, text in facts:
        write(f"{title:<13} {text}", markup=False)
