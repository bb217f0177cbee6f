"""``ig3 account``: who there is, and who speaks for whom."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, get_args

import click
import msgspec
from msgspec import Struct

from mesh.access.people import parse_person
from mesh.access.reading import read_access
from mesh.access.session_keys import FILE, SessionKeys
from mesh.access.writer import AccessWriter
from mesh.commands.account_data import erase_data, export_data
from mesh.config.options import only, settings_options
from mesh.config.settings import MeshSettings
from mesh.errors import AccountError
from mesh.inspection.operator_bus import run_on_bus
from mesh.inspection.tables import Column, print_table, show_time
from mesh.processes.terminal import terminal
from streams.access.events import Role
from streams.clock import now_ms
from streams.tokens import token

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mesh.bus.service_bus import Bus
    from streams.access.fold import Access, Account

_PLACE: Final = only(MeshSettings, "nats", "data_dir")
_STYLES: Final = {"open": "green", "closed": "dim"}
_EXAMPLES: Final = """\b
Examples:
  ig3 account open acme --owner did:pkh:eip155:1:0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed
  ig3 account member add acme did:key:z6Mk... --role viewer
  ig3 account member add local did:peaq:5Grw... --role operator   # who runs the mesh
  ig3 account show acme
  ig3 account close acme --reason "asked for by its owner"
  ig3 account rotate-sessions            # a new key signs; sessions go on until they end
"""


class MemberLine(Struct, frozen=True, kw_only=True):
    """Somebody who belongs to an account, as ``--json`` prints it."""

    did: str
    role: Role
    since: datetime


class AccountLine(Struct, frozen=True, kw_only=True):
    """One account as ``--json`` prints it."""

    account: str
    state: str
    opened_at: datetime | None
    opened_by: str
    closed_because: str
    members: tuple[MemberLine, ...]
    keys: int
    """API keys that are good now."""


@click.group(invoke_without_command=True, epilog=_EXAMPLES)
@click.pass_context
def account(ctx: click.Context) -> None:
    """Open and close accounts, and say who belongs to them.

    The account `local` is that of who runs the mesh: it is there from the beginning.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_accounts)


account.add_command(export_data)
account.add_command(erase_data)


@account.command(name="open", epilog=_EXAMPLES)
@click.argument("name", metavar="ACCOUNT")
@click.option("--owner", metavar="DID", help="Who owns it from the beginning.")
@settings_options(mesh=_PLACE)
def open_account(mesh: MeshSettings, name: str, owner: str | None) -> None:
    """Open an account.

    Its name is 1 to 64 of A-Z a-z 0-9 _ - and is never given away again.
    """
    who = None if owner is None else parse_person(owner)
    _write(mesh, lambda writer: writer.open(token(name), owner=who))
    click.echo(f"account {name} is open{'' if who is None else f', owned by {who}'}")


@account.command(name="list", epilog=_EXAMPLES)
@click.option("--all", "-a", "everything", is_flag=True, help="Also those that were closed.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, for programs.")
@settings_options(mesh=_PLACE)
def list_accounts(mesh: MeshSettings, everything: bool = False, as_json: bool = False) -> None:
    """List the accounts."""
    access = _read(mesh)
    lines = [_line(access, one) for one in access.accounts() if everything or one.is_open]
    if as_json:
        for line in lines:
            click.echo(msgspec.json.encode(line))
        return
    columns = (*map(Column, ("ACCOUNT", "STATE", "OPENED")), Column("MEMBERS", right=True), Column("KEYS", right=True))
    rows = [
        (
            *(line.account, (line.state, _STYLES[line.state]), show_time(line.opened_at)),
            *(str(len(line.members)), str(line.keys)),
        )
        for line in lines
    ]
    print_table(terminal(), columns, rows)


@account.command(epilog=_EXAMPLES)
@click.argument("name", metavar="ACCOUNT")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
@settings_options(mesh=_PLACE)
def show(mesh: MeshSettings, name: str, as_json: bool) -> None:
    """Show one account and who belongs to it."""
    access = _read(mesh)
    found = access.account(name)
    if found is None:
        raise AccountError(f"there is no account {name!r}: `ig3 account list --all` shows those that there are")
    line = _line(access, found)
    if as_json:
        click.echo(msgspec.json.encode(line))
        return
    screen = terminal()
    why = f": {line.closed_because}" if line.closed_because else ""
    screen.out.print(f"Account {line.account}, {line.state}{why}", style="bold", markup=False)
    screen.out.print(f"opened {show_time(line.opened_at)} by {line.opened_by}", style="dim", markup=False)
    if (reason := access.unreadable(name)) is not None:
        screen.out.print(f"This version lets nobody in: {reason}", style="red", markup=False)
    columns = tuple(map(Column, ("MEMBER", "ROLE", "SINCE")))
    print_table(screen, columns, [(member.did, member.role, show_time(member.since)) for member in line.members])


@account.group(epilog=_EXAMPLES)
def member() -> None:
    """Say who belongs to an account."""


@member.command(name="add", epilog=_EXAMPLES)
@click.argument("name", metavar="ACCOUNT")
@click.argument("did", metavar="DID")
@click.option("--role", type=click.Choice(get_args(Role)), default="member", help="What they are.  [default: member]")
@settings_options(mesh=_PLACE)
def add_member(mesh: MeshSettings, name: str, did: str, role: Role) -> None:
    """Make somebody a member, or give a member another role.

    Owners and members ask models and see the account's tasks, viewers only see them; owners may manage the account.
    Operators are those of the account `local`.
    """
    who = parse_person(did)
    _write(mesh, lambda writer: writer.join(token(name), who, role))
    click.echo(f"{who} is {role} of account {name}")


@member.command(name="remove", epilog=_EXAMPLES)
@click.argument("name", metavar="ACCOUNT")
@click.argument("did", metavar="DID")
@settings_options(mesh=_PLACE)
def remove_member(mesh: MeshSettings, name: str, did: str) -> None:
    """Make somebody a member no longer; their sessions end at once."""
    who = parse_person(did)
    _write(mesh, lambda writer: writer.leave(token(name), who))
    click.echo(f"{who} does not belong to account {name}")


@account.command(epilog=_EXAMPLES)
@click.argument("name", metavar="ACCOUNT")
@click.option("--reason", required=True, help="Why, for whoever looks later.")
@settings_options(mesh=_PLACE)
def close(mesh: MeshSettings, name: str, reason: str) -> None:
    """Close an account for ever: its keys and its members' sessions end at once.

    What was stored for it stays as long as anything of its kind.
    """
    _write(mesh, lambda writer: writer.close(token(name), reason=reason))
    click.echo(f"account {name} is closed")


@account.command(name="rotate-sessions", epilog=_EXAMPLES)
@click.option("--end-all", is_flag=True, help="End every session now: everybody signs in again.")
@settings_options(mesh=only(MeshSettings, "data_dir"))
def rotate_sessions(mesh: MeshSettings, end_all: bool) -> None:
    """Have a new key sign sessions.

    The gateways of this data folder take it up within a second, without a restart.
    """
    kid = SessionKeys.load_or_create(mesh.data_dir).rotate(end_all=end_all)
    rest = "all sessions have ended" if end_all else "sessions go on until they end"
    click.echo(f"key {kid} signs from now on, and {rest}")
    click.echo(f"Gateways elsewhere need the new {mesh.data_dir / FILE}.", err=True)


def _write(mesh: MeshSettings, change: Callable[[AccessWriter], Awaitable[int]]) -> None:
    async def work(bus: Bus) -> None:
        await change(AccessWriter(bus.core))

    run_on_bus(mesh, "account", work)


def _read(mesh: MeshSettings) -> Access:
    found: list[Access] = []

    async def work(bus: Bus) -> None:
        found.append((await read_access(bus.core)).access)

    run_on_bus(mesh, "account", work)
    return found[0]


def _line(access: Access, one: Account) -> AccountLine:
    now = now_ms()
    good = [key for key in access.keys_of(one.account) if one.is_open and key.is_good(now_ms=now)]
    members = (
        MemberLine(did=each.did, role=each.role, since=datetime.fromtimestamp(each.since_ms / 1000, UTC))
        for each in one.members
    )
    return AccountLine(
        account=one.account,
        state="open" if one.is_open else "closed",
        opened_at=datetime.fromtimestamp(one.opened_at_ms / 1000, UTC) if one.opened_at_ms else None,
        opened_by=one.by,
        closed_because=one.closed_because,
        members=tuple(members),
        keys=len(good),
    )
