"""``ig3 embed``: vectors of texts, one line of JSON for each."""

from __future__ import annotations

import asyncio
import sys
from typing import Final

import click
import msgspec

from mesh.client.embedding import SMALL_EMBEDDING_MODEL, EmbedOptions
from mesh.client.options import options_of
from mesh.client.sync import SyncClient
from mesh.config.options import only, settings_options
from mesh.config.settings import MeshSettings
from mesh.errors import SettingsError
from mesh.inspection.announced_models import announced_models
from mesh.inspection.operator_bus import quiet_logging

_EXAMPLES: Final = """\b
Examples:
  ig3 embed "The sky is blue."                  # one vector, as a JSON array on standard output
  ig3 embed "first text" "second text"          # one line for each
  ig3 embed - < passages.txt > vectors.jsonl    # each line of standard input is a text
"""


@click.command(epilog=_EXAMPLES)
@click.argument("texts", nargs=-1)
@click.option("--model", "-m", metavar="ID", help="What makes the vectors.  [default: a model of the mesh]")
@click.option("--dimensions", type=click.IntRange(min=1), metavar="N", help="Fewer numbers, where the model can.")
@settings_options(mesh=only(MeshSettings, "nats", "data_dir", "account"))
def embed(mesh: MeshSettings, texts: tuple[str, ...], model: str | None, dimensions: int | None) -> None:
    """Turn texts into vectors.

    Prints one JSON array of numbers for each TEXT; "-" stands for the lines of standard input, empty ones left out.
    """
    quiet_logging(mesh)
    given = _texts(texts)
    if not given:
        raise SettingsError("there are no texts: give some, or - for the lines of standard input")
    options = EmbedOptions(dimensions=dimensions, urgency="standard")
    chosen = model or _choose(asyncio.run(announced_models(mesh, "embedding")))
    with SyncClient(options_of(mesh)) as client:
        found = client.embed(given, model=chosen, **options)
    for vector in found.vectors:
        click.echo(msgspec.json.encode(vector))


def _texts(given: tuple[str, ...]) -> list[str]:
    if given == ("-",):
        return [line for line in sys.stdin.read().splitlines() if line.strip()]
    return list(given)


def _choose(announced: tuple[str, ...]) -> str:
    return SMALL_EMBEDDING_MODEL if SMALL_EMBEDDING_MODEL in announced or not announced else announced[0]
