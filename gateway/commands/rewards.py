"""``ig3 rewards``: what devices are given each week, by which rules, and out of what that came about."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import msgspec

from gateway.commands.ledger_books import OPERATOR, PLACE
from gateway.errors import RewardError
from gateway.rewards.closing import CHAIN, close_epoch, read_rewards, recompute, rules_for
from mesh.config.options import settings_options
from mesh.history.book import write_book
from mesh.inspection.operator_bus import run_on_bus
from mesh.inspection.tables import Column, print_table
from mesh.processes.terminal import terminal
from streams.billing.money import PPM, decimal_of
from streams.clock import now_ms
from streams.rewards.book import RewardBook
from streams.rewards.epochs import epoch, epoch_at, parse_epoch
from streams.rewards.events import RewardMachineSet, RewardRulesSet
from streams.rewards.rules import IG3_RULES, RewardRules, check
from streams.tokens import token

if TYPE_CHECKING:
    from collections.abc import Callable

    from mesh.bus.service_bus import Bus
    from mesh.config.settings import MeshSettings
    from mesh.history.book import Book
    from streams.billing.log import AnyBillingEvent
    from streams.rewards.computing import Reward

_EXAMPLES: Final = """\b
Examples:
  ig3 rewards rules > rules.json                     # those that hold, or the iG3 rules to begin with
  ig3 rewards set rules.json                         # from this week on
  ig3 rewards machine rack-7 M1E --cell 8828308281fffff
  ig3 rewards close                                  # give what the week before this one gives
  ig3 rewards show 2026-11-26                        # who was given what, and why
  ig3 rewards diff 2026-11-26 other.json             # what other rules would have given; changes nothing
"""
_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(invoke_without_command=True, epilog=_EXAMPLES)
@click.pass_context
def rewards(ctx: click.Context) -> None:
    """Give devices what a week gives them, by rules that are data.

    A week begins on Thursday at 02:00 UTC; its number, or any day in it, names it.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_epochs)


@rewards.command(name="list", epilog=_EXAMPLES)
@settings_options(mesh=PLACE)
def list_epochs(mesh: MeshSettings) -> None:
    """List the weeks that were closed."""
    closed = sorted(_read(mesh).closed.values(), key=lambda each: -each.epoch)
    if not closed:
        terminal().err.print("No week was closed yet: `ig3 rewards close` closes one.", markup=False)
        return
    titles = ("DEVICES", "BASE", "BONUS")
    columns = (*map(Column, ("WEEK OF", "NUMBER", "RULES")), *(Column(title, True) for title in titles))
    rows = [
        (
            *(epoch(each.epoch).day, str(each.epoch), each.version, str(each.devices)),
            *(decimal_of(each.base_nano), decimal_of(each.bonus_nano)),
        )
        for each in closed
    ]
    print_table(terminal(), columns, rows)


@rewards.command(epilog=_EXAMPLES)
@settings_options(mesh=PLACE)
def rules(mesh: MeshSettings) -> None:
    """Print the rules that hold this week, as JSON; the iG3 rules where none were set yet."""
    found = _read(mesh).rules_of(epoch_at(now_ms()).number) or IG3_RULES
    click.echo(msgspec.json.format(msgspec.json.encode(found)))


@rewards.command(name="set", epilog=_EXAMPLES)
@click.argument("file", type=_FILE)
@click.option("--from", "first", metavar="WEEK", help="The first week that they hold for.  [default: this one]")
@settings_options(mesh=PLACE)
def set_rules(mesh: MeshSettings, file: Path, first: str | None) -> None:
    """Set rules from a file. What was granted by others stays."""
    wanted = _rules_in(file)
    begins = epoch_at(now_ms()) if first is None else parse_epoch(first)

    def decide(book: Book) -> AnyBillingEvent | None:
        known = RewardBook(book.events).version(wanted.version)
        if known is not None and known != wanted:
            raise RewardError(f"there are other rules of version {wanted.version!r}: give these another one")
        return RewardRulesSet(at_ms=now_ms(), rules=wanted, from_epoch=begins.number, by=OPERATOR)

    _write(mesh, decide)
    click.echo(f"rules {wanted.version} hold from the week of {begins.day} on")


@rewards.command(epilog=_EXAMPLES)
@click.argument("node", metavar="NODE")
@click.argument("kind", metavar="KIND")
@click.option("--cell", help="Where it stands: a cell of a map, as all who count neighbours write it.")
@settings_options(mesh=PLACE)
def machine(mesh: MeshSettings, node: str, kind: str, cell: str | None) -> None:
    """Attest what kind of device a node is, and where it stands."""
    event = RewardMachineSet(at_ms=now_ms(), node=token(node), machine=kind, cell=cell, by=OPERATOR)
    _write(mesh, lambda _: event)
    click.echo(f"{node} is an {kind}" + ("" if cell is None else f" in {cell}"))


@rewards.command(epilog=_EXAMPLES)
@click.argument("week", required=False)
@settings_options(mesh=PLACE)
def close(mesh: MeshSettings, week: str | None) -> None:
    """Give everybody what a week gives them: the one before this, unless another is named. Twice gives nothing more."""
    wanted = epoch(epoch_at(now_ms()).number - 1) if week is None else parse_epoch(week)

    async def work(bus: Bus) -> None:
        closed = await close_epoch(bus.core, wanted)
        total = decimal_of(closed.base_nano + closed.bonus_nano)
        click.echo(f"the week of {wanted.day} gave {total} to {closed.devices} devices, by rules {closed.version}")

    run_on_bus(mesh, "rewards", work)


@rewards.command(epilog=_EXAMPLES)
@click.argument("week")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, for programs.")
@settings_options(mesh=PLACE)
def show(mesh: MeshSettings, week: str, as_json: bool) -> None:
    """Show who was given what for a week, and out of what that came about."""
    found = _read(mesh).granted(parse_epoch(week).number)
    if as_json:
        for each in found:
            click.echo(msgspec.json.encode(each))
    else:
        _print(found)


@rewards.command(epilog=_EXAMPLES)
@click.argument("week")
@click.argument("file", type=_FILE)
@settings_options(mesh=PLACE)
def diff(mesh: MeshSettings, week: str, file: Path) -> None:
    """Show what other rules would have given for a week that was closed. Nothing is changed."""
    book, wanted = _read(mesh), parse_epoch(week)
    other = {each.node: each for each in recompute(book, wanted, _rules_in(file)).rewards}
    rows: list[tuple[str, str, str, str]] = []
    for was in recompute(book, wanted, rules_for(book, wanted)).rewards:
        would = other[was.node].amount_nano
        change = f"{would - was.amount_nano:+d}"
        amounts = (decimal_of(was.amount_nano), decimal_of(would), change[0] + decimal_of(abs(int(change))))
        rows.append((was.node, *amounts))
    columns = (Column("NODE"), *(Column(title, True) for title in ("WAS GIVEN", "WOULD BE", "CHANGE")))
    print_table(terminal(), columns, rows)


def _print(found: tuple[Reward, ...]) -> None:
    titles = ("BASE", "BONUS", "UP", "STAKE", "SCORE", "BOOST")
    columns = (Column("NODE"), Column("OWNER"), *(Column(title, True) for title in titles))
    rows = [
        (
            *(each.node, each.owner or "", decimal_of(each.base_nano), decimal_of(each.bonus_nano)),
            *(_percent(each.uptime_ppm), _percent(each.stake_ppm), _times(each.score_ppm), _times(each.boost_ppm)),
        )
        for each in found
    ]
    print_table(terminal(), columns, rows)


def _percent(ppm: int) -> str:
    return f"{ppm * 100 / PPM:.2f} %"


def _times(ppm: int) -> str:
    return f"{ppm / PPM:.3g}x"


def _rules_in(file: Path) -> RewardRules:
    try:
        found = msgspec.json.decode(file.read_bytes(), type=RewardRules)
    except msgspec.MsgspecError as error:
        raise RewardError(f"{file} holds no rules: {error}. `ig3 rewards rules` prints some.") from error
    check(found)
    return found


def _read(mesh: MeshSettings) -> RewardBook:
    found: list[RewardBook] = []

    async def work(bus: Bus) -> None:
        found.append(await read_rewards(bus.core))

    run_on_bus(mesh, "rewards", work)
    return found[0]


def _write(mesh: MeshSettings, decide: Callable[[Book], AnyBillingEvent | None]) -> None:
    async def work(bus: Bus) -> None:
        await write_book(bus.core, CHAIN, decide)

    run_on_bus(mesh, "rewards", work)
