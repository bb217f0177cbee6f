"""``ig3 plan``: how an account pays, and what it and its keys may spend in a month."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, get_args

import click
import msgspec

from gateway.commands.ledger_books import OPERATOR, PLACE, on_books
from gateway.errors import LedgerError
from gateway.ledger.entries import set_plan
from mesh.access.reading import read_access
from mesh.config.options import settings_options
from streams.billing.events import KeyBudget, PlanKind
from streams.billing.money import decimal_of, nano_of
from streams.billing.subjects import account_chain
from streams.tokens import token

if TYPE_CHECKING:
    from gateway.ledger.books import Books
    from mesh.bus.link import Link
    from mesh.config.settings import MeshSettings
    from streams.billing.events import PlanSet
    from streams.tokens import Token

_EXAMPLES: Final = """\b
Examples:
  ig3 plan set local free                            # metered, and never charged
  ig3 plan set acme prepaid --monthly 100            # at most 100 in a calendar month (UTC)
  ig3 plan set acme postpaid --limit 500 --key k7q2mzx4c5ta=20
  ig3 plan show acme
"""


@click.group(epilog=_EXAMPLES)
def plan() -> None:
    """Say how accounts pay. An account without a plan is prepaid."""


@plan.command(name="set", epilog=_EXAMPLES)
@click.argument("account", metavar="ACCOUNT")
@click.argument("kind", type=click.Choice(get_args(PlanKind)))
@click.option("--limit", default="0", help="Postpaid: how far below nothing it may go.  [default: 0]")
@click.option("--monthly", help="What it may spend in a calendar month (UTC).  [default: as much as it has]")
@click.option("--key", "keys", multiple=True, metavar="ID=AMOUNT", help="What one API key may spend in a month.")
@click.option("--currency", help="In which it pays.  [default: that of the price list]")
@settings_options(mesh=PLACE)
def set_one(
    mesh: MeshSettings,
    account: str,
    kind: PlanKind,
    limit: str,
    monthly: str | None,
    keys: tuple[str, ...],
    currency: str | None,
) -> None:
    """Say how an account pays from now on; all that is not said is as if it had never been."""
    name, budgets = token(account), tuple(_budget(text) for text in keys)

    async def work(books: Books) -> None:
        if budgets:
            await need_limited_keys(books.core, name, budgets)
        await set_plan(
            books,
            name,
            kind=kind,
            currency=currency,
            limit_nano=_not_negative(limit),
            monthly_nano=None if monthly is None else _not_negative(monthly),
            keys=budgets,
            by=OPERATOR,
        )

    on_books(mesh, "plan", work)
    click.echo(f"account {name} is {kind}")


@plan.command(epilog=_EXAMPLES)
@click.argument("account", metavar="ACCOUNT")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
@settings_options(mesh=PLACE)
def show(mesh: MeshSettings, account: str, as_json: bool) -> None:
    """Show how an account pays."""
    found: list[PlanSet | None] = []

    async def work(books: Books) -> None:
        found.append(books.state.chain(account_chain(token(account)).subject).plan)

    on_books(mesh, "plan", work)
    standing = found[0]
    if as_json:
        click.echo(msgspec.json.encode(standing))
        return
    if standing is None:
        click.echo(f"account {account} has no plan: it is prepaid")
        return
    click.echo(f"account {account} is {standing.kind}, in {standing.currency or 'the currency of the price list'}")
    if standing.kind == "postpaid":
        click.echo(f"up to {decimal_of(standing.limit_nano)} below nothing")
    if standing.monthly_nano is not None:
        click.echo(f"at most {decimal_of(standing.monthly_nano)} in a month")
    for each in standing.keys:
        click.echo(f"key {each.key}: at most {decimal_of(each.monthly_nano)} in a month")


async def need_limited_keys(core: Link, account: Token, budgets: tuple[KeyBudget, ...]) -> None:
    """See that keys which get a budget are good over HTTP only: on the bus nobody says which key asks.

    Raises:
        LedgerError: if the account has no such key, or it has no limit of its own.
        BusError: if that cannot be read now.
    """
    access = (await read_access(core, account)).access
    for budget in budgets:
        key = access.key(budget.key)
        if key is None or key.account != account:
            raise LedgerError(f"account {account} has no key {budget.key!r}: see `ig3 keys list --of {account}`")
        if not key.limits.has_any:
            raise LedgerError(
                f"key {budget.key} may be used on the bus, where nobody says which key asks: issue one with a limit "
                "(`ig3 keys issue --requests-per-minute N`), which is for HTTP only, and give that a budget"
            )


def _budget(text: str) -> KeyBudget:
    key, separator, amount = text.partition("=")
    if not separator or not key or len(key) > 64:
        raise LedgerError(f"{text!r} is no budget of a key: write ID=AMOUNT")
    return KeyBudget(key=key, monthly_nano=_not_negative(amount))


def _not_negative(text: str) -> int:
    amount = nano_of(text)
    if amount < 0:
        raise LedgerError(f"{text} is negative: limits and budgets begin at 0")
    return amount
