"""``ig3 ledger statement|export|verify``: what the books say, and whether it is what the log adds up to."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import msgspec
from msgspec import Struct

from gateway.commands.ledger_books import PLACE
from gateway.ledger.archive import check_archive, line_of
from gateway.ledger.sealing import read_seals
from gateway.ledger.verifying import verify as verify_books
from mesh.config.options import settings_options
from mesh.history.ordered import OrderedReader
from mesh.history.snapshots import SNAPSHOTS, SnapshotStore
from mesh.inspection.operator_bus import run_on_bus
from mesh.inspection.tables import Column, print_table
from mesh.processes.terminal import terminal
from streams.billing.events import LedgerPosted, LedgerSuspended, Transaction
from streams.billing.money import decimal_of
from streams.billing.subjects import account_chain
from streams.codec import decode_billing_event
from streams.errors import StreamsError
from streams.tokens import token
from streams.topology import BILLING

if TYPE_CHECKING:
    from gateway.ledger.archive import Archive
    from gateway.ledger.recomputing import Difference
    from gateway.ledger.verifying import Verified
    from mesh.bus.service_bus import Bus
    from mesh.config.settings import MeshSettings

_WAIT_S: Final = 5.0
_EXAMPLES: Final = """\b
Examples:
  ig3 ledger statement acme
  ig3 ledger export > books.jsonl
  ig3 ledger verify            # exit status 1 if anything differs
  ig3 ledger verify --quick    # from the newest snapshot on
"""


class StatementLine(Struct, frozen=True, kw_only=True):
    """One entry of an account, as ``--json`` prints it."""

    time: datetime
    id: str
    kind: str
    change: str
    currency: str
    balance: str
    note: str


@click.command(epilog=_EXAMPLES)
@click.argument("account", metavar="ACCOUNT")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, for programs.")
@settings_options(mesh=PLACE)
def statement(mesh: MeshSettings, account: str, as_json: bool) -> None:
    """Show every entry of an account, and what it had after each."""
    subject = account_chain(token(account)).subject
    lines: list[StatementLine] = []

    async def work(bus: Bus) -> None:
        balances: dict[str, int] = {}
        async with OrderedReader(bus.core, BILLING, filters=(subject,)) as reader:
            while not reader.is_caught_up:
                for each in await reader.take(wait_s=_WAIT_S):
                    lines.extend(_line(one, account, balances) for one in _transactions(each.data))

    run_on_bus(mesh, "ledger-statement", work)
    if as_json:
        for line in lines:
            click.echo(msgspec.json.encode(line))
        return
    columns = (
        *(Column("TIME"), Column("KIND"), Column("CHANGE", right=True), Column("BALANCE", right=True)),
        *(Column("CURRENCY"), Column("ENTRY"), Column("")),
    )
    rows = [
        (f"{one.time:%Y-%m-%d %H:%M:%S}", one.kind, one.change, one.balance, one.currency, one.id, one.note)
        for one in lines
    ]
    print_table(terminal(), columns, rows)


@click.command(epilog=_EXAMPLES)
@settings_options(mesh=PLACE)
def export(mesh: MeshSettings) -> None:
    """Print every event of the books, one JSON object per line; BODY_BASE64 is what the hashes are over."""

    async def work(bus: Bus) -> None:
        async with OrderedReader(bus.core, BILLING) as reader:
            while not reader.is_caught_up:
                for each in await reader.take(wait_s=_WAIT_S):
                    click.echo(line_of(each))

    run_on_bus(mesh, "ledger-export", work)


@click.command(epilog=_EXAMPLES)
@click.option("--quick", is_flag=True, help="Begin at the newest snapshot, and believe it.")
@click.option(
    "--archive",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Compare only this archive of a month with its seal.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@settings_options(mesh=PLACE)
def verify(mesh: MeshSettings, quick: bool, archive: Path | None, as_json: bool) -> None:
    """Recompute all balances from the first event, and compare.

    Compared are the snapshots here, what running ledgers believe, the hashes by which events of a chain hang together,
    months with their seals, and, as far back as ENDED goes, each charge with the end that it is for. It changes
    nothing. The exit status is 1 if anything differs.
    """
    if archive is not None:
        _verify_archive(mesh, archive, as_json=as_json)
        return
    found: list[Verified] = []

    async def work(bus: Bus) -> None:
        store = SnapshotStore(mesh.data_dir / SNAPSHOTS)
        found.append(await verify_books(bus.core, store, is_quick=quick))

    run_on_bus(mesh, "ledger-verify", work)
    report = found[0]
    if as_json:
        click.echo(msgspec.json.encode(report))
    else:
        _print(report)
    if report.differences:
        sys.exit(1)


def _print(report: Verified) -> None:
    screen = terminal()
    screen.out.print(
        f"{report.events:,} events, {report.transactions:,} transactions, {report.suspensions:,} of them in suspense; "
        f"compared with {report.charges_compared:,} ends, {report.snapshots_compared} snapshots, "
        f"{report.ledgers_compared} running ledgers and {report.seals_compared} sealed months, "
        f"in {report.took_s:.2f} s",
        markup=False,
    )
    _print_differences(report.differences, "all is as the log says")


def _verify_archive(mesh: MeshSettings, path: Path, *, as_json: bool) -> None:
    found: list[Archive] = []

    async def work(bus: Bus) -> None:
        found.append(check_archive(path, await read_seals(bus.core)))

    run_on_bus(mesh, "ledger-verify", work)
    if as_json:
        click.echo(msgspec.json.encode(found[0]))
    else:
        click.echo(f"{path.name}: {found[0].events:,} events of {found[0].period}")
        _print_differences(found[0].differences, "they are what was sealed")
    if found[0].differences:
        sys.exit(1)


def _print_differences(differences: tuple[Difference, ...], if_none: str) -> None:
    screen = terminal()
    for difference in differences:
        screen.out.print(f"{difference.where}: {difference.detail}", markup=False, style="red")
    if not differences:
        screen.out.print(if_none, markup=False, style="green")


def _transactions(data: bytes) -> tuple[Transaction, ...]:
    try:
        event = decode_billing_event(data)
    except StreamsError:
        return ()
    match event:
        case LedgerPosted():
            return event.transactions
        case LedgerSuspended():
            return (event.transaction,)
        case _:
            return ()


def _went(correction: Transaction) -> str:
    """Where a correction has put what lay in suspense."""
    gotten = (each for each in correction.postings if each.amount_nano > 0)
    return ", ".join(f"{decimal_of(each.amount_nano)} to {each.account}" for each in gotten)


def _line(one: Transaction, account: str, balances: dict[str, int]) -> StatementLine:
    own = f"user:{account}"
    change = sum(posting.amount_nano for posting in one.postings if posting.account == own)
    balances[one.currency] = balances.get(one.currency, 0) + change
    note = one.note if one.kind != "correction" else f"{_went(one)}: {one.note}"
    if one.used is not None:
        tokens = f"{one.used.prompt_tokens} + {one.used.completion_tokens} tokens"
        note = f"{one.used.model}: {tokens}, {one.used.outcome}"
    return StatementLine(
        time=datetime.fromtimestamp(one.at_ms / 1000, UTC),
        id=one.id,
        kind=one.kind,
        change=decimal_of(change),
        currency=one.currency,
        balance=decimal_of(balances[one.currency]),
        note=note,
    )
