"""``ig3 groups``: which shard groups there are, what their members hold, and ending one."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click
import msgspec
from msgspec import Struct

from mesh.config.options import only, settings_options
from mesh.config.settings import MeshSettings
from mesh.errors import GroupError
from mesh.history.group_log import GroupLog
from mesh.inspection.operator_bus import run_on_bus
from mesh.inspection.tables import Column, print_table, show_size, show_time
from mesh.processes.terminal import terminal
from streams.clock import now_ms
from streams.groups.events import GroupDissolved
from streams.groups.fold import GroupState
from streams.tokens import token

if TYPE_CHECKING:
    from mesh.bus.service_bus import Bus
    from streams.groups.fold import Group

_PLACE: Final = only(MeshSettings, "nats", "data_dir")
_STYLES: Final = {GroupState.FORMING: "yellow", GroupState.READY: "green", GroupState.DISSOLVED: "dim"}
_EXAMPLES: Final = """\b
Examples:
  ig3 groups                                            # those that serve, or are coming together
  ig3 groups list --all                                 # those that have ended, too, and why
  ig3 groups show g1a2b3c4d5e6f                         # which layers are where, and how the links are
  ig3 groups dissolve g1a2b3c4d5e6f --reason "add the new node"
"""


class MemberLine(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One node of a group: what it lends, and what it holds once the model is split."""

    node: str
    address: str = ""
    lends_bytes: int = 0
    layers: int | None = None
    holds_bytes: int | None = None
    rtt_ms: float | None = None
    mib_per_s: float | None = None


class GroupLine(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One group as ``--json`` prints it."""

    group: str
    state: str
    model: str
    leader: str
    needs_bytes: int
    """What the members must hold together."""
    members: tuple[MemberLine, ...] = ()
    replaces: str = ""
    by: str = ""
    reason: str = ""
    since: datetime


@click.group(invoke_without_command=True, epilog=_EXAMPLES)
@click.pass_context
def groups(ctx: click.Context) -> None:
    """List shard groups, and end one.

    A shard group serves a model that none of its nodes could hold alone. Nodes form groups by themselves (`ig3 node
    --shard-listen`, `--shard-model`); GROUPS has what became of each.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_groups)


@groups.command(name="list", epilog=_EXAMPLES)
@click.option("--all", "with_ended", is_flag=True, help="Those that have ended, too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, for programs.")
@settings_options(mesh=_PLACE)
def list_groups(mesh: MeshSettings, with_ended: bool = False, as_json: bool = False) -> None:
    """List groups, in the order in which they were proposed."""
    found: list[Group] = []

    async def work(bus: Bus) -> None:
        found.extend(group for group in (await _log(bus)).groups.all() if group.is_open or with_ended)

    run_on_bus(mesh, "groups", work)
    if as_json:
        for group in found:
            click.echo(msgspec.json.encode(_line(group)))
    elif not found:
        terminal().err.print("There is no shard group.", markup=False)
    else:
        columns = tuple(map(Column, ("GROUP", "STATE", "SINCE", "MODEL", "LEADER", "MEMBERS", "REASON")))
        print_table(terminal(), columns, [_row(group) for group in found])


@groups.command(epilog=_EXAMPLES)
@click.argument("group", metavar="GROUP")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
@settings_options(mesh=_PLACE)
def show(mesh: MeshSettings, group: str, as_json: bool) -> None:
    """Show one group: who holds what, over which link."""
    found: list[Group] = []

    async def work(bus: Bus) -> None:
        found.append(_known(await _log(bus), group))

    run_on_bus(mesh, "groups", work)
    line = _line(found[0])
    if as_json:
        click.echo(msgspec.json.encode(line))
        return
    for name in ("group", "state", "model", "leader", "replaces", "by", "reason"):
        if value := getattr(line, name):
            click.echo(f"{name:<9} {value}")
    titles = (Column("NODE"), *(Column(title, right=True) for title in ("LAYERS", "HOLDS", "LENDS", "RTT", "MIB/S")))
    print_table(terminal(), (*titles, Column("ADDRESS")), [_member_row(member) for member in line.members])


@groups.command(epilog=_EXAMPLES)
@click.argument("group", metavar="GROUP")
@click.option("--reason", required=True, help="Why, for those who read the log.")
@settings_options(mesh=_PLACE)
def dissolve(mesh: MeshSettings, group: str, reason: str) -> None:
    """End a group. Its answers go on elsewhere, and its leader forms another of the nodes that lend then."""

    async def work(bus: Bus) -> None:
        log = await _log(bus)
        known = _known(log, group)
        if not known.is_open:
            raise GroupError(f"group {group} has ended already: {known.reason}")
        by = f"operator {getpass.getuser()}"
        await log.append(known.group, GroupDissolved(at_ms=now_ms(), by=by, reason=reason))

    run_on_bus(mesh, "groups", work)
    click.echo(f"{group} is dissolved")


async def _log(bus: Bus) -> GroupLog:
    log = GroupLog(bus.core)
    await log.start()
    await log.stop()
    return log


def _known(log: GroupLog, name: str) -> Group:
    group = log.groups.group(token(name))
    if group is None:
        raise GroupError(f"there is no group {name}: `ig3 groups list --all` shows those that there were")
    return group


def _line(group: Group) -> GroupLine:
    joined = {each.node: each for each in group.joined}
    parts = {part.node: part for part in group.parts}
    members: list[MemberLine] = []
    for node in dict.fromkeys((group.leader, *parts, *joined)):
        part, join = parts.get(node), joined.get(node)
        members.append(
            MemberLine(
                node=node,
                address="" if join is None else join.address,
                lends_bytes=0 if join is None else join.memory_bytes,
                layers=None if part is None else part.layers,
                holds_bytes=None if part is None else part.memory_bytes,
                rtt_ms=None if part is None else part.rtt_ms,
                mib_per_s=None if part is None else part.mib_per_s,
            )
        )
    return GroupLine(
        group=group.group,
        state=str(group.state),
        model=group.model,
        leader=group.leader,
        needs_bytes=group.needs_bytes,
        members=tuple(members),
        replaces=group.replaces or "",
        by=group.by,
        reason=group.reason,
        since=datetime.fromtimestamp(group.since_ms / 1000, UTC),
    )


def _row(group: Group) -> tuple[str | tuple[str, str], ...]:
    line = _line(group)
    members = ", ".join(f"{member.node} {member.layers or 0}" for member in line.members)
    state = (line.state, _STYLES[group.state])
    return (line.group, state, show_time(line.since), line.model, line.leader, members, line.reason)


def _member_row(member: MemberLine) -> tuple[str, ...]:
    return (
        member.node,
        "" if member.layers is None else str(member.layers),
        "" if member.holds_bytes is None else show_size(member.holds_bytes),
        show_size(member.lends_bytes) if member.lends_bytes else "",
        "" if member.rtt_ms is None else f"{member.rtt_ms:.2f} ms",
        "" if member.mib_per_s is None else f"{member.mib_per_s:.0f}",
        member.address,
    )
