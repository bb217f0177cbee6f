"""``ig3 ledger suspense|correct``: what the rule had no answer to, and what somebody says becomes of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click
import msgspec
from msgspec import Struct

from gateway.commands.ledger_books import OPERATOR, PLACE, on_books
from gateway.ledger.correcting import correct as correct_entry
from gateway.ledger.correcting import read_suspense
from mesh.config.options import settings_options
from mesh.inspection.operator_bus import run_on_bus
from mesh.inspection.tables import Column, print_table
from mesh.processes.terminal import terminal
from streams.billing.money import decimal_of
from streams.ledger.corrections import read_part
from streams.tokens import token

if TYPE_CHECKING:
    from gateway.ledger.books import Books
    from mesh.bus.service_bus import Bus
    from mesh.config.settings import MeshSettings
    from streams.billing.events import Transaction
    from streams.ledger.corrections import SuspenseEntry

_TASK: Final = "charge:019b7a3e00007abc8def012345678900"
_EXAMPLES: Final = f"""\b
Examples:
  ig3 ledger suspense --open                                   # what somebody must look at
  ig3 ledger correct acme {_TASK} --to back --note "the node lied"
  ig3 ledger correct acme {_TASK} --to fees=0.002 --to node:n1=0.01 --to back --note "by hand"
"""


class SuspenseLine(Struct, frozen=True, kw_only=True):
    """One entry, as ``--json`` prints it."""

    time: datetime
    account: str
    entry: str
    code: str
    message: str
    node: str | None
    amount: str
    currency: str
    claimed: str | None
    corrected: datetime | None
    went: dict[str, str]
    by: str
    note: str


@click.command(epilog=_EXAMPLES)
@click.option("--account", metavar="ACCOUNT", help="Of this account only.")
@click.option("--open", "only_open", is_flag=True, help="Only what lies there still.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, for programs.")
@settings_options(mesh=PLACE)
def suspense(mesh: MeshSettings, account: str | None, only_open: bool, as_json: bool) -> None:
    """List what the rule had no answer to, the newest first, and what became of it."""
    name = None if account is None else token(account)
    found: list[SuspenseEntry] = []

    async def work(bus: Bus) -> None:
        found.extend((await read_suspense(bus.core, name)).newest_first)

    run_on_bus(mesh, "ledger-suspense", work)
    shown = [_line(each) for each in found if each.lies_nano or not only_open]
    if as_json:
        for line in shown:
            click.echo(msgspec.json.encode(line))
        return
    columns = (
        *(Column("TIME"), Column("ACCOUNT"), Column("ENTRY"), Column("CODE"), Column("AMOUNT", right=True)),
        *(Column("CURRENCY"), Column("BECAME"), Column("")),
    )
    rows = [
        (
            *(f"{one.time:%Y-%m-%d %H:%M:%S}", one.account, one.entry, one.code, one.amount),
            *(one.currency, _became(one), one.message),
        )
        for one in shown
    ]
    print_table(terminal(), columns, rows)


@click.command(name="correct", epilog=_EXAMPLES)
@click.argument("account", metavar="ACCOUNT")
@click.argument("entry", metavar="ENTRY")
@click.option(
    "--to",
    "targets",
    metavar="WHERE[=AMOUNT]",
    multiple=True,
    required=True,
    help="back (to the account), fees or node:NAME; without an amount, all that is left. Repeatable.",
)
@click.option("--note", required=True, help="Why, for whoever looks later.")
@settings_options(mesh=PLACE)
def correct(mesh: MeshSettings, account: str, entry: str, targets: tuple[str, ...], note: str) -> None:
    """Say what becomes of an entry in suspense: once, and of all of it.

    ACCOUNT and ENTRY are those that `ig3 ledger suspense` shows.
    """
    name = token(account)
    parts = tuple(read_part(target, name) for target in targets)
    said: list[str] = []

    async def work(books: Books) -> None:
        is_new = await correct_entry(books, name, entry, parts, by=OPERATOR, note=note)
        found = (await read_suspense(books.core, name)).entry(name, entry)
        went = _line(found).went if found is not None else {}
        shown = ", ".join(f"{amount} to {where}" for where, amount in went.items())
        said.append(f"{entry}: {shown}" if is_new else f"{entry} was corrected before ({shown}): nothing moved")

    on_books(mesh, "correct", work)
    for line in said:
        click.echo(line)


def _line(entry: SuspenseEntry) -> SuspenseLine:
    correction = entry.correction
    return SuspenseLine(
        time=_time(entry.at_ms),
        account=entry.account,
        entry=entry.id,
        code=entry.code,
        message=entry.message,
        node=entry.node,
        amount=decimal_of(entry.amount_nano),
        currency=entry.currency,
        claimed=None if entry.claimed_nano is None else decimal_of(entry.claimed_nano),
        corrected=None if correction is None else _time(correction.at_ms),
        went={} if correction is None else _went(correction),
        by="" if correction is None else correction.by,
        note="" if correction is None else correction.note,
    )


def _went(correction: Transaction) -> dict[str, str]:
    return {
        posting.account: decimal_of(posting.amount_nano) for posting in correction.postings if posting.amount_nano > 0
    }


def _became(line: SuspenseLine) -> str:
    if line.corrected is None:
        return "open" if line.amount != "0" else "nothing was held"
    return f"{', '.join(line.went)}: {line.note}"


def _time(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
