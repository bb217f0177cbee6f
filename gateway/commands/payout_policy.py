"""``ig3 payouts policy|policies``: when ledgers request payouts by themselves."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, get_args

import click
import msgspec

from gateway.commands.ledger_books import OPERATOR, PLACE
from gateway.errors import PayoutError
from gateway.payouts.outbox import read_payouts
from gateway.payouts.policy import set_policy
from mesh.config.options import settings_options
from mesh.config.quantities import format_duration, parse_duration
from mesh.inspection.operator_bus import run_on_bus
from mesh.inspection.tables import Column, print_table
from mesh.processes.terminal import terminal
from streams.billing.money import Currency, decimal_of, nano_of
from streams.clock import now_ms
from streams.payouts.events import HOUR_MS, PayoutPolicySet
from streams.payouts.payout import DriverName
from streams.tokens import token

if TYPE_CHECKING:
    from mesh.bus.service_bus import Bus
    from mesh.config.settings import MeshSettings
    from streams.payouts.book import PayoutBook

_EXAMPLES: Final = """\b
Examples:
  ig3 payouts policy IG3 --least 10 --every 7d --by erc20   # of all nodes whose money goes this way
  ig3 payouts policy IG3 rack-7 --least 100 --every 30d     # of this one, in the place of that
  ig3 payouts policy IG3 rack-8 --off                       # never of this one
  ig3 payouts policies
"""
_MS: Final = timedelta(milliseconds=1)


@click.command(epilog=_EXAMPLES)
@click.argument("currency", metavar="CURRENCY")
@click.argument("name", metavar="[NODE]", required=False)
@click.option("--least", default="0", metavar="AMOUNT", help="Less is left where it is.  [default: whatever there is]")
@click.option("--every", default="7d", metavar="DURATION", help="How long after one another may follow.  [default: 7d]")
@click.option("--step", default="0.000000001", metavar="AMOUNT", help="Round down to a multiple of this.")
@click.option("--by", "driver", type=click.Choice(get_args(DriverName)), help="Only where the money goes this way.")
@click.option("--off", is_flag=True, help="Request nothing by itself.")
@settings_options(mesh=PLACE)
def policy(
    mesh: MeshSettings,
    currency: str,
    name: str | None,
    least: str,
    every: str,
    step: str,
    driver: DriverName | None,
    off: bool,
) -> None:
    """Have running ledgers request payouts of what nodes have in CURRENCY: of all nodes, or of one."""
    wanted = PayoutPolicySet(
        at_ms=now_ms(),
        node=None if name is None else token(name),
        currency=_currency(currency),
        is_on=not off,
        least_nano=_at_least(nano_of(least), 0, "--least"),
        step_nano=_at_least(nano_of(step), 1, "--step"),
        every_ms=_at_least(_duration_ms(every), HOUR_MS, "--every"),
        driver=driver,
        by=OPERATOR,
    )

    async def work(bus: Bus) -> None:
        await set_policy(bus.core, wanted)

    run_on_bus(mesh, "payouts", work)
    click.echo(f"{_whose(wanted)}, {currency}: {_said(wanted)}")


@click.command(epilog=_EXAMPLES)
@settings_options(mesh=PLACE)
def policies(mesh: MeshSettings) -> None:
    """List when payouts are requested by themselves."""
    found: list[PayoutBook] = []

    async def work(bus: Bus) -> None:
        found.append(await read_payouts(bus.core))

    run_on_bus(mesh, "payouts", work)
    rows = [(_whose(each), each.currency, _said(each)) for each in found[0].policies.values()]
    print_table(terminal(), (Column("NODE"), Column("CURRENCY"), Column("REQUESTED")), sorted(rows))


def _whose(one: PayoutPolicySet) -> str:
    return "every other node" if one.node is None else one.node


def _said(one: PayoutPolicySet) -> str:
    if not one.is_on:
        return "nothing by itself"
    way = "" if one.driver is None else f", where it goes by {one.driver}"
    least = f"from {decimal_of(one.least_nano)} on" if one.least_nano else "whatever there is"
    return f"{least}, every {format_duration(one.every_ms * _MS)}{way}"


def _currency(text: str) -> str:
    try:
        return msgspec.convert(text, Currency)
    except msgspec.ValidationError as error:
        raise PayoutError(f"{text!r} is no currency: write its code, such as EUR or IG3") from error


def _duration_ms(text: str) -> int:
    try:
        return parse_duration(text) // _MS
    except (ValueError, OverflowError) as error:
        raise PayoutError(str(error)) from error


def _at_least(number: int, least: int, option: str) -> int:
    if number < least:
        raise PayoutError(f"{option} is too small: payouts are requested once an hour at most, and of an amount")
    return number
