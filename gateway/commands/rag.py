"""``ig3 rag``: takes files in, and finds passages in them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from mesh.client.embedding import SMALL_EMBEDDING_MODEL
from mesh.config.options import only, settings_options
from mesh.config.settings import MeshSettings
from mesh.inspection.announced_models import announced_models
from mesh.inspection.operator_bus import run_on_bus
from mesh.inspection.tables import Column, print_table, show_size
from mesh.processes.terminal import terminal
from streams.tokens import token

if TYPE_CHECKING:
    from gateway.commands.rag_library import Brought, Library
    from gateway.retrieval.store_log import Standing
    from mesh.bus.service_bus import Bus
    from streams.stores.messages import FoundPassage

_PLACE: Final = only(MeshSettings, "nats", "data_dir", "account")
_STORE: Final = click.option(
    "--store", "store", metavar="NAME", default="files", show_default=True, help="Which vector store, by name or id."
)
_HINT_AFTER_S: Final = 15.0
_SHOWN_CHARS: Final = 400
_STYLES: Final = {"completed": "green", "in_progress": "yellow", "failed": "red", "cancelled": "dim"}
_EXAMPLES: Final = """\b
Examples:
  ig3 rag add README.md docs/*.md           # into the store "files", which is made if it is not there
  ig3 rag search "How is a mesh started?"
  ig3 rag list                              # the vector stores; with --store NAME the files of one
  ig3 rag remove README.md
  ig3 rag reembed --model other-model       # all files of the store anew, by another model
"""


@click.group(epilog=_EXAMPLES)
def rag() -> None:
    """Take files in, and find passages in them.

    What is taken in here, requests find too that name the store: docs/retrieval.md.
    """


@rag.command(epilog=_EXAMPLES)
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_STORE
@click.option("--model", "-m", metavar="ID", help="What makes the vectors of a new store.  [default: one of the mesh]")
@settings_options(mesh=_PLACE)
def add(mesh: MeshSettings, files: tuple[Path, ...], store: str, model: str | None) -> None:
    """Take FILES into a vector store, and wait until they can be found.

    A file takes the place of one that has its path, once it is taken in. What has not changed stays as it is.
    """
    failed: list[str] = []

    async def work(bus: Bus) -> None:
        from gateway.commands.rag_library import Library, NotTakenIn
        from mesh.errors import FileNotKept

        library = Library(bus.core, token(mesh.account))
        standing = await library.find_open(store) or await library.open(store, model or await _model(mesh))
        brought: list[Brought] = []
        for path in files:
            try:
                brought.append(await library.bring(standing.key, path, _name_of(path)))
            except (NotTakenIn, FileNotKept) as error:
                failed.append(str(error))
        for one in brought:
            try:
                click.echo(f"{await _settled(library, standing, one)}  {one.name}")
            except NotTakenIn as error:
                failed.append(str(error))
        click.echo(f"The store is {standing.key.store}.", err=True)

    run_on_bus(mesh, "rag", work)
    for each in failed:
        click.echo(f"Error: {each}", err=True)
    if failed:
        raise SystemExit(1)


@rag.command(epilog=_EXAMPLES)
@click.argument("query")
@_STORE
@click.option("--limit", type=click.IntRange(1, 50), default=5, show_default=True, help="How many passages.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, for programs.")
@settings_options(mesh=_PLACE)
def search(mesh: MeshSettings, query: str, store: str, limit: int, as_json: bool) -> None:
    """Find the passages that say most about QUERY, the best first."""

    async def work(bus: Bus) -> None:
        from gateway.commands.rag_library import Library
        from gateway.http.file_search.passages import find_passages
        from gateway.http.file_search.request import Wanted
        from mesh.access.caller import local_caller
        from streams.tasks.grounding import FileSearch

        account = token(mesh.account)
        standing = await Library(bus.core, account).get(store)
        wanted = Wanted(FileSearch(stores=(standing.key.store,), limit=limit), None)
        for number, found in enumerate(await find_passages(bus.core, local_caller(account), wanted, query), 1):
            click.echo(msgspec.json.encode(found) if as_json else _shown(number, found))

    run_on_bus(mesh, "rag", work)


@rag.command(name="list", epilog=_EXAMPLES)
@click.option("--store", "store", metavar="NAME", help="The files of this vector store, instead of the stores.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, for programs.")
@settings_options(mesh=_PLACE)
def list_all(mesh: MeshSettings, store: str | None, as_json: bool) -> None:
    """List the vector stores of the account, or the files of one."""

    async def work(bus: Bus) -> None:
        from gateway.commands.rag_library import Library
        from gateway.http.vector_stores.objects import file_object, store_object

        library = Library(bus.core, token(mesh.account))
        if store is None:
            stores = await library.stores()
            _print([store_object(one) for one in stores], as_json, _STORE_COLUMNS, list(map(_store_row, stores)))
            return
        standing = await library.get(store)
        files = [file_object(standing.key.store, file) for file in standing.state.files.values()]
        rows = [
            (one.filename, (one.status, _STYLES[one.status]), str(one.passages), show_size(one.usage_bytes), one.id)
            for one in files
        ]
        _print(files, as_json, _FILE_COLUMNS, rows)

    run_on_bus(mesh, "rag", work)


@rag.command(epilog=_EXAMPLES)
@click.argument("files", nargs=-1, required=True)
@_STORE
@settings_options(mesh=_PLACE)
def remove(mesh: MeshSettings, files: tuple[str, ...], store: str) -> None:
    """Remove FILES, by path or id, from a vector store; they are deleted unless another store has them."""

    async def work(bus: Bus) -> None:
        from gateway.commands.rag_library import Library

        library = Library(bus.core, token(mesh.account))
        standing = await library.get(store)
        for name in files:
            await library.remove(standing.key, name)
            click.echo(f"removed  {name}")

    run_on_bus(mesh, "rag", work)


@rag.command(epilog=_EXAMPLES)
@_STORE
@click.option("--model", "-m", metavar="ID", help="What makes the vectors from now on.  [default: the same model]")
@settings_options(mesh=_PLACE)
def reembed(mesh: MeshSettings, store: str, model: str | None) -> None:
    """Take all files of a vector store in anew, by another model or the same, and wait until they are.

    Until the new passages of a file are whole its old ones are found; where they come to nothing, after that too.
    """
    failed: list[str] = []

    async def work(bus: Bus) -> None:
        from gateway.commands.rag_library import Library

        library = Library(bus.core, token(mesh.account))
        state = await library.embed_anew((await library.get(store)).key, model)
        failed.extend(f"{file.filename}: {file.fault.message}" for file in state.files.values() if file.fault)
        click.echo(f"{state.count('completed')} files are embedded by {state.model}.")

    run_on_bus(mesh, "rag", work)
    for each in failed:
        click.echo(f"Error: {each}", err=True)
    if failed:
        raise SystemExit(1)


_STORE_COLUMNS: Final = (Column("STORE"), Column("NAME"), Column("FILES", right=True), Column("TAKEN IN", right=True))
_FILE_COLUMNS: Final = (
    *(Column("FILE"), Column("STATE"), Column("PASSAGES", right=True), Column("SIZE", right=True), Column("ID")),
)


def _store_row(standing: Standing) -> tuple[str, ...]:
    state = standing.state
    return standing.key.store, state.name, str(len(state.files)), str(state.count("completed"))


def _print(items: list[Any], as_json: bool, columns: tuple[Column, ...], rows: list[Any]) -> None:
    if not as_json:
        print_table(terminal(), columns, rows)
        return
    for item in items:
        click.echo(msgspec.json.encode(item))


async def _settled(library: Library, standing: Standing, brought: Brought) -> str:
    """Wait for a file, and say what may be missing where that takes long."""
    waiting = asyncio.ensure_future(library.settle(standing.key, brought))
    try:
        return await asyncio.wait_for(asyncio.shield(waiting), _HINT_AFTER_S)
    except TimeoutError:
        click.echo(f"{brought.name} is not taken in yet; is `ig3 retrieval` running, and a node that embeds?", err=True)
        return await waiting


async def _model(mesh: MeshSettings) -> str:
    announced = await announced_models(mesh, "embedding")
    return SMALL_EMBEDDING_MODEL if SMALL_EMBEDDING_MODEL in announced or not announced else announced[0]


def _name_of(path: Path) -> str:
    """A path as it stands in the store: from here, where it lies below."""
    whole, here = path.resolve(), Path.cwd()
    return str(whole.relative_to(here)) if whole.is_relative_to(here) else str(whole)


def _shown(number: int, found: FoundPassage) -> str:
    place = found.place
    where = [found.filename, *([f"page {place.page}"] if place.page is not None else ())]
    where += [" / ".join(place.heading)] if place.heading else []
    text = " ".join(found.text.split())
    short = text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS].rsplit(None, 1)[0] + " ..."
    return f"{number}. {', '.join(where)} (characters {place.first} to {place.last}, {found.score:.2f})\n   {short}"
