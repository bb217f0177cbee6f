"""``ig3 ledger invoice``: what an account was charged in a month."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click
import msgspec

from gateway.usage.invoice import csv_of, days_of, invoice_of
from gateway.usage.ledger_reads import LedgerReads
from mesh.config.options import only, settings_options
from mesh.config.settings import MeshSettings
from mesh.inspection.operator_bus import run_on_bus
from mesh.inspection.tables import Column, print_table
from mesh.processes.terminal import terminal
from streams.tokens import token

if TYPE_CHECKING:
    from gateway.usage.invoice import Invoice
    from gateway.usage.objects import Amount
    from mesh.bus.service_bus import Bus

_EXAMPLES: Final = """\b
Examples:
  ig3 ledger invoice acme --month 2026-11
  ig3 ledger invoice acme --month 2026-11 --csv > acme-2026-11.csv
  ig3 ledger invoice acme --month 2026-11 --json
"""


@click.command(epilog=_EXAMPLES)
@click.argument("account", metavar="ACCOUNT")
@click.option("--month", required=True, metavar="YYYY-MM", help="Which month (UTC).")
@click.option("--csv", "form", flag_value="csv", help="A row for each model and key, for spreadsheets.")
@click.option("--json", "form", flag_value="json", help="One JSON object, for programs.")
@settings_options(mesh=only(MeshSettings, "nats", "data_dir"))
def invoice(mesh: MeshSettings, account: str, month: str, form: str | None) -> None:
    """Show what an account was charged in a month, by model and API key.

    A running ledger has added it up (`ig3 ledger run`). Of a month that is not over it shows what has ended so far.
    """
    name, (first_day, last_day) = token(account), days_of(month)
    found: list[Invoice] = []

    async def work(bus: Bus) -> None:
        rows = await LedgerReads(bus.core).usage(name, first_day, last_day)
        found.append(invoice_of(name, month, rows))

    run_on_bus(mesh, "invoice", work)
    match form:
        case "csv":
            click.echo(csv_of(found[0]), nl=False)
        case "json":
            click.echo(msgspec.json.encode(found[0]))
        case _:
            _show(found[0])


def _show(invoice: Invoice) -> None:
    columns = (
        *(Column("MODEL"), Column("KEY")),
        *(Column(title, right=True) for title in ("TASKS", "READ", "OF THEM CACHED", "WRITTEN", "AMOUNT")),
    )
    rows = [
        (
            *(f"{line.model}, corrected" if line.corrections else line.model, line.api_key_id or ""),
            *(f"{line.tasks:,}", f"{line.prompt_tokens:,}", f"{line.cached_prompt_tokens:,}"),
            *(f"{line.completion_tokens:,}", "" if line.amount is None else _shown(line.amount)),
        )
        for line in invoice.lines
    ]
    print_table(terminal(), columns, rows)
    total = " + ".join(map(_shown, invoice.total)) or "nothing"
    click.echo(f"{invoice.account} was charged {total} in {invoice.month}")


def _shown(amount: Amount) -> str:
    return f"{amount.value} {amount.currency}"
