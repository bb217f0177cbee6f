"""``ig3 ledger``: keeps the books, and shows what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click
import msgspec

from gateway.commands.invoice import invoice
from gateway.commands.ledger_books import OPERATOR, PLACE, on_books
from gateway.commands.ledger_show import export, statement, verify
from gateway.commands.seal import seal
from gateway.commands.suspense import correct, suspense
from gateway.ledger import running
from gateway.ledger.entries import deposit
from gateway.ledger.settings import LedgerSettings
from gateway.ledger.views import balance_of
from mesh.config.options import only, settings_options
from mesh.config.settings import MeshSettings
from mesh.inspection.tables import Column, print_table
from mesh.processes.process import run_process
from mesh.processes.terminal import terminal
from streams.billing.money import decimal_of, nano_of
from streams.billing.subjects import account_chain
from streams.errors import InvalidAmount
from streams.tokens import token

if TYPE_CHECKING:
    import asyncio

    from gateway.ledger.books import Books
    from streams.billing.messages import Balance

_EXAMPLES: Final = """\b
Examples:
  ig3 ledger run                                            # one more, to take over when the first dies
  ig3 ledger deposit acme 25 EUR --reference invoice-7      # once, however often it is repeated
  ig3 ledger balance                                        # everybody's
  ig3 ledger balance acme --json
  ig3 ledger invoice acme --month 2026-11 --csv             # what it was charged
"""


@click.group(epilog=_EXAMPLES)
def ledger() -> None:
    """Keep the books: what is held, charged and earned; and show what they say."""


for _command in (statement, export, verify, invoice, suspense, correct, seal):
    ledger.add_command(_command)


@ledger.command(epilog=_EXAMPLES)
@settings_options(
    mesh=only(MeshSettings, "nats", "data_dir", "otlp_endpoint", "log_level", "log_format"), ledger=LedgerSettings
)
def run(mesh: MeshSettings, ledger: LedgerSettings) -> None:
    """Settle tasks as they end, and answer what may be accepted.

    Any number may run: no two write the same, and when one dies the others go on.
    """

    async def main(stop: asyncio.Event) -> None:
        await running.serve(mesh, ledger, stop)

    run_process("ledger", mesh, main)


@ledger.command(name="deposit", epilog=_EXAMPLES)
@click.argument("account", metavar="ACCOUNT")
@click.argument("amount", metavar="AMOUNT")
@click.argument("currency", metavar="CURRENCY")
@click.option("--reference", required=True, help="What was paid by: the same reference is credited once, ever.")
@click.option("--back", is_flag=True, help="It was paid back: debit it.")
@click.option("--note", default="", help="For whoever looks later.")
@settings_options(mesh=PLACE)
def pay_in(mesh: MeshSettings, account: str, amount: str, currency: str, reference: str, back: bool, note: str) -> None:
    """Credit an account with what was paid in.

    AMOUNT is written as 12.5, with at most nine digits behind the point.
    """
    amount_nano, name = nano_of(amount), token(account)
    if amount_nano < 0:
        raise InvalidAmount(f"{amount} is negative: what was paid back is written with --back")
    signed = -amount_nano if back else amount_nano
    said: list[str] = []

    async def work(books: Books) -> None:
        is_new = await deposit(books, name, signed, currency, reference=reference, by=OPERATOR, note=note)
        there = decimal_of(books.state.balance(f"user:{name}", currency))
        done = "paid back" if back else "paid in"
        said.append(f"{amount} {currency} {done}" if is_new else f"{reference} was written before: nothing moved")
        said.append(f"account {name} has {there} {currency}")

    on_books(mesh, "deposit", work)
    for line in said:
        click.echo(line)


@ledger.command(epilog=_EXAMPLES)
@click.argument("account", metavar="[ACCOUNT]", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, for programs.")
@settings_options(mesh=PLACE)
def balance(mesh: MeshSettings, account: str | None, as_json: bool) -> None:
    """Show what accounts have, what is held of it, and how they pay; without a name, everything in the books."""
    if account is None:
        _show_all(mesh, as_json=as_json)
        return
    name = token(account)
    found: list[Balance] = []

    async def work(books: Books) -> None:
        found.append(balance_of(books.state, name))

    on_books(mesh, "balance", work)
    if as_json:
        click.echo(msgspec.json.encode(found[0]))
        return
    columns = (Column("CURRENCY"), *(Column(title, right=True) for title in ("FREE", "HELD", "SPENT THIS MONTH")))
    rows = [
        (row.currency, *map(decimal_of, (row.free_nano, row.held_nano, row.spent_this_month_nano)))
        for row in found[0].rows
    ]
    print_table(terminal(), columns, rows)
    limit = f", up to {decimal_of(found[0].limit_nano)} below nothing" if found[0].plan == "postpaid" else ""
    click.echo(f"{account_chain(name).name} is {found[0].plan}{limit}")


def _show_all(mesh: MeshSettings, *, as_json: bool) -> None:
    rows: list[tuple[str, str, int]] = []
    counts: list[int] = []

    async def work(books: Books) -> None:
        state = books.state
        rows.extend((account, currency, amount) for (account, currency), amount in sorted(state.balances.items()))
        counts.extend((state.transactions, state.suspensions))

    on_books(mesh, "balance", work)
    if as_json:
        for account, currency, amount in rows:
            line = {"account": account, "currency": currency, "amount": decimal_of(amount)}
            click.echo(msgspec.json.encode(line))
        return
    columns = (Column("ACCOUNT"), Column("CURRENCY"), Column("AMOUNT", right=True))
    print_table(terminal(), columns, [(account, currency, decimal_of(amount)) for account, currency, amount in rows])
    click.echo(f"{counts[0]:,} transactions, {counts[1]:,} of them in suspense")
