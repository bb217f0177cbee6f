"""``ig3 docs``: documents that are made from the code, so that they cannot say something else."""

from __future__ import annotations

import click

from mesh.config_docs import configuration_page
from mesh.config_sources import installed_sections


@click.group()
def docs() -> None:
    """Write the documents that are made from the code."""


@docs.command("config")
def config_page() -> None:
    """Write docs/configuration.md to standard output."""
    click.echo(configuration_page(installed_sections()), nl=False)
