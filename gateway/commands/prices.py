"""``ig3 prices``: what tokens cost, as versions that follow each other."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import msgspec
from msgspec import Struct

from gateway.commands.ledger_books import OPERATOR, PLACE, on_books
from gateway.errors import LedgerError
from gateway.ledger.entries import set_prices
from mesh.config.options import settings_options
from mesh.inspection.tables import Column, print_table, show_time
from mesh.processes.terminal import terminal
from streams.billing.events import PriceRule
from streams.billing.money import Currency, Share
from streams.clock import now_ms

if TYPE_CHECKING:
    from gateway.ledger.books import Books
    from mesh.config.settings import MeshSettings
    from streams.billing.events import PricesSet

_SOON_MS: Final = 10_000
"""Every ledger has read a list before it holds."""
_EXAMPLES: Final = """\b
A file of prices:
  currency = "EUR"
  fee_ppm = 100000            # the operator's part, in millionths
  cached_answer_ppm = 250000  # an answer out of the response cache
  [[rules]]                   # the first that fits counts; in 10^-9 EUR per token
  model = "smollm2-*"
  tier = "edge"               # left out: wherever it runs
  prompt = 150
  cached_prompt = 75
  completion = 600

\b
Examples:
  ig3 prices set prices.toml                              # holds in ten seconds
  ig3 prices set prices.toml --from 2026-12-01T00:00:00Z
  ig3 prices list
"""


class PriceFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a file of prices says."""

    currency: Currency
    rules: tuple[PriceRule, ...]
    fee_ppm: Share = 0
    cached_answer_ppm: Share = 0


@click.group(epilog=_EXAMPLES)
def prices() -> None:
    """Say what tokens cost. As long as there is no list, all is free, and only metered."""


@prices.command(name="set", epilog=_EXAMPLES)
@click.argument("file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--from", "since", metavar="TIME", help="From when on it holds: ISO 8601.  [default: in ten seconds]")
@settings_options(mesh=PLACE)
def set_list(mesh: MeshSettings, file: Path, since: str | None) -> None:
    """Write the next price list. Tasks that were accepted before it holds keep their prices."""
    read, after_ms = _read(file), now_ms() + _SOON_MS if since is None else _moment_ms(since)
    stored: list[PricesSet] = []

    async def work(books: Books) -> None:
        stored.append(
            await set_prices(
                books,
                currency=read.currency,
                rules=read.rules,
                fee_ppm=read.fee_ppm,
                cached_answer_ppm=read.cached_answer_ppm,
                after_ms=after_ms,
                by=OPERATOR,
            )
        )

    on_books(mesh, "prices", work)
    click.echo(f"version {stored[0].version} holds from {_shown(stored[0].effective_at_ms)} on")


@prices.command(name="list", epilog=_EXAMPLES)
@click.option("--all", "-a", "everything", is_flag=True, help="Also those that were followed.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, for programs.")
@settings_options(mesh=PLACE)
def list_prices(mesh: MeshSettings, everything: bool, as_json: bool) -> None:
    """Show the price list that holds, and those that will."""
    found: list[PricesSet] = []

    async def work(books: Books) -> None:
        current = books.state.prices.at(now_ms())
        first = 1 if everything or current is None else current.version
        found.extend(each for each in books.state.prices if each.version >= first)

    on_books(mesh, "prices", work)
    if as_json:
        for each in found:
            click.echo(msgspec.json.encode(each))
        return
    if not found:
        click.echo("there is no price list: all is free, and only metered")
    for each in found:
        _print(each)


def _print(listed: PricesSet) -> None:
    screen = terminal()
    title = f"Version {listed.version}, from {_shown(listed.effective_at_ms)} on, in 10^-9 {listed.currency} per token"
    screen.out.print(title, style="bold", markup=False)
    screen.out.print(
        f"fee {listed.fee_ppm} ppm, answers out of the cache {listed.cached_answer_ppm} ppm", style="dim", markup=False
    )
    titles = ("PROMPT", "CACHED PROMPT", "COMPLETION", "EMBEDDING")
    columns = (Column("MODEL"), Column("TIER"), *(Column(title, right=True) for title in titles))
    rows = [
        (
            *(rule.model, rule.tier or "any", str(rule.prompt)),
            str(rule.prompt if rule.cached_prompt is None else rule.cached_prompt),
            str(rule.completion),
            str(rule.prompt if rule.embedding is None else rule.embedding),
        )
        for rule in listed.rules
    ]
    print_table(screen, columns, rows)


def _read(file: Path) -> PriceFile:
    try:
        return msgspec.toml.decode(file.read_bytes(), type=PriceFile)
    except (msgspec.DecodeError, OSError, UnicodeDecodeError) as error:
        raise LedgerError(f"{file} is no price list: {error}") from error


def _moment_ms(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise LedgerError(f"{text!r} is no time: write 2026-12-01T00:00:00Z") from error
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _shown(at_ms: int) -> str:
    return show_time(datetime.fromtimestamp(at_ms / 1000, UTC))
