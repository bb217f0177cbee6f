"""``ig3 docs``: documents that are made from the code, so that they cannot say something else."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from mesh.config.docs import configuration_page
from mesh.config.sources import installed_sections
from streams.asyncapi import asyncapi_json
from streams.rights_table import ROLES, rows

ASYNCAPI_FILE: Final = Path("docs/asyncapi.json")
"""Where the committed copy of the AsyncAPI document lies, seen from the root of the repository."""
_RIGHTS_HEAD: Final = """\
# Who may say and hear what on the bus

<!-- Made by `ig3 docs rights`; edit streams/rights.py instead. -->

The rights of a connection are lists of what is allowed; an empty cell is refused by the broker itself. A test tries every cell on a
real one (`tests/integration/identity/test_rights.py`). The device is `node-a`; user and viewer are of the account `alice`. Besides this a device
may answer what it was asked: an order's reply subject is its results subject, for at most 65,536 messages and five minutes, and a node
that still writes asks for more. After a task has ended such a right is good for five minutes at most, and what is written then
counts for nothing ([events.md](events.md#what-counts)). Services are not in the table: they may do everything in their account.
"""
_EXAMPLES: Final = """\b
Examples:
  ig3 docs asyncapi --output docs/asyncapi.json    # every event and message on the bus
  ig3 docs asyncapi --check                        # is the committed copy what the code says?
  ig3 docs config                                  # the page of all settings
  ig3 docs rights                                  # who may say and hear what
"""


@click.group(epilog=_EXAMPLES)
def docs() -> None:
    """Write the documents that are made from the code."""


@docs.command("config")
def config_page() -> None:
    """Write docs/configuration.md to standard output."""
    click.echo(configuration_page(installed_sections()), nl=False)


@docs.command("rights")
def rights() -> None:
    """Write docs/rights.md, who may say and hear what on the bus, to standard output."""
    click.echo(rights_page(), nl=False)


def rights_page() -> str:
    """Return the page of every role against every family of subjects."""
    head = " | ".join(f"{role} says | {role} hears" for role in ROLES)
    lines = [
        f"| {row.family} | `{row.subject}` | "
        + " | ".join(f"{_tick(row.may_publish(role))} | {_tick(row.may_subscribe(role))}" for role in ROLES)
        + " |"
        for row in rows()
    ]
    rule = "|---" * (2 + 2 * len(ROLES)) + "|"
    return "\n".join((_RIGHTS_HEAD, f"| what | subject | {head} |", rule, *lines, ""))


def _tick(is_allowed: bool) -> str:
    return "yes" if is_allowed else ""


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
