"""``ig3 config show``: the settings that hold, and where each comes from."""

from __future__ import annotations

from typing import Final

import click
import msgspec
from msgspec import Struct

from mesh.config.fields import fields_of, show_value
from mesh.config.options import read_sources
from mesh.config.settings import DEFAULT, resolve
from mesh.config.sources import Sources, installed_sections
from mesh.processes.terminal import Terminal, terminal

_EXAMPLES: Final = """\b
Examples:
  ig3 config show                   # all settings, and where each comes from
  IG3_HTTP=:9090 ig3 config show    # try what a variable does
  ig3 config show --json            # for programs
"""


class Row(Struct, frozen=True, kw_only=True):
    """One setting as it holds."""

    section: str
    key: str
    value: str
    origin: str
    variable: str


@click.group(epilog=_EXAMPLES)
def config() -> None:
    """Show the settings that hold and where each comes from."""


@config.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON array, for programs.")
def show(as_json: bool) -> None:
    """Print every setting, its value, and where the value comes from.

    Secrets are shown as ****. Flags of other commands are not seen here: only variables, the file and defaults.
    """
    rows = list_settings(read_sources())
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(rows)))
        return
    _print_table(rows, terminal())


def list_settings(sources: Sources) -> list[Row]:
    """Resolve every installed section.

    Raises:
        SettingsError: if a value cannot be used.
    """
    rows: list[Row] = []
    for name, section in installed_sections().items():
        resolved = resolve(section, name, flags={}, sources=sources)
        for field in fields_of(section, name):
            value = show_value(field, getattr(resolved.value, field.key))
            origin = resolved.origins[field.key]
            rows.append(Row(section=name, key=field.key, value=value, origin=origin, variable=field.variable))
    return rows


def _print_table(rows: list[Row], screen: Terminal) -> None:
    key_width = max(len(row.key) for row in rows)
    value_width = max(len(row.value) for row in rows)
    section = ""
    for row in rows:
        if row.section != section:
            section = row.section
            screen.out.print(f"\n[{section}]" if row is not rows[0] else f"[{section}]", style="bold", markup=False)
        screen.out.print(f"  {row.key:<{key_width}}", end="  ", style="cyan", markup=False)
        screen.out.print(f"{row.value:<{value_width}}", end="  ", markup=False)
        screen.out.print(row.origin, style="dim" if row.origin == DEFAULT else "green", markup=False)
