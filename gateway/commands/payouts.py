"""``ig3 payouts``: what nodes have earned leaves the books, exactly once."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, get_args

import click
import msgspec

from gateway.commands.ledger_books import OPERATOR, PLACE, on_books
from gateway.commands.payout_policy import policies, policy
from gateway.errors import PayoutError
from gateway.payouts.drivers.opening import open_driver
from gateway.payouts.outbox import CHAIN, Amount, Outbox, read_payouts, request, set_destination
from gateway.payouts.settings import PayoutSettings
from mesh.config.options import only, settings_options
from mesh.config.settings import MeshSettings
from mesh.errors import BusError
from mesh.inspection.operator_bus import open_bus, run_on_bus
from mesh.inspection.tables import Column, print_table, show_time
from mesh.processes.process import run_process
from mesh.processes.readiness import announce_ready
from mesh.processes.terminal import terminal
from streams.billing.money import decimal_of, nano_of, node
from streams.payouts.payout import DriverName
from streams.tokens import token

if TYPE_CHECKING:
    from gateway.ledger.books import Books
    from mesh.bus.service_bus import Bus
    from streams.payouts.book import PayoutBook
    from streams.payouts.events import PayoutRequested

log = logging.getLogger(__name__)

_EXAMPLES: Final = """\b
Examples:
  ig3 payouts to rack-7 "IBAN of Ada" --by file --payout-file payouts.jsonl
  ig3 payouts request rack-7 EUR                   # all that it has earned
  ig3 payouts request rack-7 IG3 12.5
  ig3 payouts policy IG3 --least 10 --every 7d     # running ledgers request it by themselves
  ig3 payouts run file --payout-file payouts.jsonl # see to those that are not over, until it is stopped
  ig3 payouts                                      # what became of each
"""
_DRIVERS: Final = click.Choice(get_args(DriverName))


@click.group(invoke_without_command=True, epilog=_EXAMPLES)
@click.pass_context
def payouts(ctx: click.Context) -> None:
    """Pay out what nodes have earned: to a file, a webhook, or in a token.

    What is handed over is on the log before it is: so a crash pays nothing twice.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_all)


for _command in (policy, policies):
    payouts.add_command(_command)


@payouts.command(name="list", epilog=_EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, for programs.")
@settings_options(mesh=PLACE)
def list_all(mesh: MeshSettings, as_json: bool = False) -> None:
    """List payouts, the newest first."""
    found: list[PayoutBook] = []

    async def work(bus: Bus) -> None:
        found.append(await read_payouts(bus.core))

    run_on_bus(mesh, "payouts", work)
    records = [*reversed(found[0].records.values())]
    if as_json:
        for each in records:
            click.echo(msgspec.json.encode(each))
        return
    titles = ("PAYOUT", "NODE", "STATE", "SINCE", "BY", "TO", "DETAIL")
    rows = [
        (
            *(each.payout.id, each.payout.node, str(each.state), show_time(_moment(each.changed_at_ms))),
            *(each.payout.driver, each.payout.address, each.detail),
            f"{each.payout.amount_text} {each.payout.currency}",
        )
        for each in records
    ]
    print_table(terminal(), (*map(Column, titles), Column("AMOUNT", True)), rows)


@payouts.command(epilog=_EXAMPLES)
@click.argument("name", metavar="NODE")
@click.argument("address", metavar="ADDRESS")
@click.option("--by", "driver", type=_DRIVERS, required=True, help="Which way its money goes.")
@settings_options(mesh=PLACE, payouts=PayoutSettings)
def to(mesh: MeshSettings, payouts: PayoutSettings, name: str, address: str, driver: DriverName) -> None:
    """Say where a node's money goes from now on."""
    way, whose = open_driver(driver, payouts), token(name)

    async def work(bus: Bus) -> None:
        found = await set_destination(bus.core, whose, way, address, by=OPERATOR)
        click.echo(f"what {name} earns goes to {found} by {driver}")

    run_on_bus(mesh, "payouts", work)


@payouts.command(name="request", epilog=_EXAMPLES)
@click.argument("name", metavar="NODE")
@click.argument("currency", metavar="CURRENCY")
@click.argument("amount", metavar="AMOUNT", required=False)
@settings_options(mesh=PLACE)
def ask(mesh: MeshSettings, name: str, currency: str, amount: str | None) -> None:
    """Set an amount aside to be paid out: all that the node has, unless AMOUNT is given."""
    whose = token(name)
    wanted = None if amount is None else nano_of(amount)
    made: list[PayoutRequested] = []

    async def work(books: Books) -> None:
        balance_nano = books.state.balance(str(node(whose)), currency)
        nano = balance_nano if wanted is None else wanted
        seen = books.state.chain(CHAIN.subject).last_sequence
        made.append(
            await request(books.core, whose, Amount(nano, currency), balance_nano=balance_nano, seen_sequence=seen)
        )

    on_books(mesh, "payouts", work)
    click.echo(f"payout {made[0].payout}: {decimal_of(made[0].amount_nano)} {currency} to {made[0].address}")


@payouts.command(epilog=_EXAMPLES)
@click.argument("driver", type=_DRIVERS)
@click.option("--once", is_flag=True, help="Look once, and end.")
@settings_options(mesh=only(MeshSettings, "nats", "data_dir", "log_level", "log_format"), payouts=PayoutSettings)
def run(mesh: MeshSettings, payouts: PayoutSettings, driver: DriverName, once: bool) -> None:
    """See to the payouts of one way that are not over. Several may run: none pays what another has."""
    way = open_driver(driver, payouts)

    async def main(stop: asyncio.Event) -> None:
        async with await open_bus(mesh, "payouts") as bus:
            announce_ready(f"payouts by {driver} are looked after")
            outbox = Outbox(bus.core, way)
            await _look(outbox, once=once)
            while not (once or await _stops_within(stop, payouts.payout_every.total_seconds())):
                await _look(outbox, once=False)

    run_process("payouts", mesh, main)


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


async def _look(outbox: Outbox, *, once: bool) -> None:
    try:
        confirmed, failed, waiting = await outbox.look()
    except BusError as error:
        if once:
            raise
        log.warning("the books cannot be read or written now: %s", error)
        return
    if confirmed or failed or waiting:
        log.info("%d confirmed, %d failed, %d under way", confirmed, failed, waiting)
    if once and failed:
        raise PayoutError(f"{failed} were not paid: `ig3 payouts` says why")


async def _stops_within(stop: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return False
    return True
