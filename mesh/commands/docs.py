"""``ig3 docs``: documents that are made from the code, so that they cannot say something else."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from mesh.config.docs import configuration_page
from mesh.config.sources import installed_sections
from streams.asyncapi import asyncapi_json

ASYNCAPI_FILE: Final = Path("docs/asyncapi.json")
"""Where the committed copy of the AsyncAPI document lies, seen from the root of the repository."""
_EXAMPLES: Final = """\b
Examples:
  ig3 docs asyncapi --output docs/asyncapi.json    # every event and message on the bus
  ig3 docs asyncapi --check                        # is the committed copy what the code says?
  ig3 docs config                                  # the page of all settings
"""


@click.group(epilog=_EXAMPLES)
def docs() -> None:
    """Write the documents that are made from the code."""


@docs.command("config")
def config_page() -> None:
    """Write docs/configuration.md to standard output."""
    click.echo(configuration_page(installed_sections()), nl=False)


@docs.command()
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write to FILE instead of standard output.",
)
@click.option("--check", is_flag=True, help=f"Write nothing: compare with FILE, or {ASYNCAPI_FILE}.")
def asyncapi(output: Path | None, check: bool) -> None:
    """Write the AsyncAPI 3 document of all events and messages on the bus."""
    document = asyncapi_json()
    if check:
        _compare(output or ASYNCAPI_FILE, document)
    elif output is None:
        click.echo(document, nl=False)
    else:
        _write(output, document)


def _compare(path: Path, document: bytes) -> None:
    try:
        committed = path.read_bytes()
    except OSError as error:
        raise click.ClickException(f"cannot read {path}: {error.strerror}") from error
    if committed != document:
        raise click.ClickException(f"{path} is not what the code says: run `ig3 docs asyncapi --output {path}`")


def _write(path: Path, document: bytes) -> None:
    try:
        path.write_bytes(document)
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from error
