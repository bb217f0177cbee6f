"""``ig3 devices``: which devices there are, and who may take part."""

from __future__ import annotations

import getpass
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import msgspec
from msgspec import Struct

from mesh.commands.passphrases import open_key
from mesh.config.options import only, settings_options
from mesh.config.settings import MeshSettings
from mesh.errors import DeviceError
from mesh.identity.credential import issue_credential
from mesh.identity.device_log import DeviceLog
from mesh.identity.did import parse_did
from mesh.inspection.operator_bus import run_on_bus
from mesh.inspection.tables import Column, print_table, show_time
from mesh.processes.terminal import terminal
from streams.clock import now_ms
from streams.devices.fold import Standing
from streams.devices.reputation import NOTHING, score
from streams.tokens import Token, token

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mesh.bus.service_bus import Bus
    from streams.devices.fold import Device

_PLACE: Final = only(MeshSettings, "nats", "data_dir")
_STYLES: Final = {
    Standing.UNPROVEN: "dim",
    Standing.VERIFIED: "yellow",
    Standing.ADMITTED: "green",
    Standing.SUSPENDED: "red",
    Standing.REVOKED: "red",
}
_EXAMPLES: Final = """\b
Examples:
  ig3 devices                                             # who there is, and who waits to be admitted
  ig3 devices admit laptop-1a2b3c4d                       # let in one that waits, or was suspended
  ig3 devices admit rack-7 --did did:key:z6Mk...          # keep a name for one that is still to come
  ig3 devices admit rack-7 --owner lab                    # tasks of lab under the policy private may run there
  ig3 devices suspend laptop-1a2b3c4d --reason "answers nonsense"
  ig3 devices revoke laptop-1a2b3c4d --reason "stolen"    # for good, and its connection is cut at once
"""


class DeviceLine(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One device as ``--json`` prints it."""

    node: str
    standing: str
    did: str = ""
    by: str = ""
    reason: str = ""
    task: str = ""
    proved_by: str = ""
    owner: str = ""
    """The account that it belongs to."""
    stake: int = 0
    reputation: float | None = None
    """0 to 1, by checks of its answers alone; a dispatcher also weighs in what it has done and where it failed."""
    changed_at: datetime | None = None
    stale_reading_of: datetime | None = None
    """If it was let in while the chain could not be asked: when the chain had said what it was let in by."""


@click.group(invoke_without_command=True, epilog=_EXAMPLES)
@click.pass_context
def devices(ctx: click.Context) -> None:
    """List devices, and decide which of them may take part.

    A device proves a DID when it connects; DEVICES has what became of it. What is decided here holds at once, on every
    server, and over restarts.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_devices)


@devices.command(name="list", epilog=_EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, for programs.")
@settings_options(mesh=_PLACE)
def list_devices(mesh: MeshSettings, as_json: bool = False) -> None:
    """List all devices, those that wait to be admitted first."""
    found: list[Device] = []

    async def work(bus: Bus) -> None:
        found.extend((await _log(bus)).devices.all())

    run_on_bus(mesh, "devices", work)
    found.sort(key=lambda device: (device.standing is not Standing.VERIFIED, device.node))
    if as_json:
        for device in found:
            click.echo(msgspec.json.encode(_line(device)))
    else:
        _print_devices(found)


@devices.command(epilog=_EXAMPLES)
@click.argument("node", metavar="NAME")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
@settings_options(mesh=_PLACE)
def show(mesh: MeshSettings, node: str, as_json: bool) -> None:
    """Show one device: its DID, its standing, and who decided so and why."""
    found: list[Device] = []

    async def work(bus: Bus) -> None:
        device = (await _log(bus)).devices.device(token(node))
        if device is None:
            raise DeviceError(f"there is no device {node}: `ig3 devices list` shows those that there are")
        found.append(device)

    run_on_bus(mesh, "devices", work)
    line = _line(found[0])
    if as_json:
        click.echo(msgspec.json.encode(line))
        return
    for name in line.__struct_fields__:
        if value := getattr(line, name):
            click.echo(f"{name.replace('_', ' '):<16} {value}")


@devices.command(epilog=_EXAMPLES)
@click.argument("node", metavar="NAME")
@click.option("--did", metavar="DID", help="Keep the name for this DID, which has not been seen yet.")
@click.option("--reason", default="", help="Why, for those who read the log.")
@click.option("--owner", metavar="ACCOUNT", help="The account that it belongs to, for tasks that stay there; '': none.")
@click.option("--stake", type=click.IntRange(0), help="What its owner has put at stake; the policy ig3 weighs it.")
@settings_options(mesh=_PLACE)
def admit(mesh: MeshSettings, node: str, did: str | None, reason: str, owner: str | None, stake: int | None) -> None:
    """Let a device take part: one that waits, one that was suspended, or one that is still to come.

    What is said of owner and stake holds until it is said otherwise.
    """
    wanted = None if did is None else parse_did(did).text
    account = None if owner is None else owner and token(owner)

    async def decide(log: DeviceLog, name: Token) -> Device:
        return await log.admit(name, by=_operator(), reason=reason, did=wanted, owner=account, stake=stake)

    _decide(mesh, node, decide)


@devices.command(epilog=_EXAMPLES)
@click.argument("node", metavar="NAME")
@click.option("--reason", required=True, help="Why, for those who read the log.")
@settings_options(mesh=_PLACE)
def suspend(mesh: MeshSettings, node: str, reason: str) -> None:
    """Shut a device out until it is admitted again; its connection is cut."""
    _decide(mesh, node, lambda log, name: log.suspend(name, by=_operator(), reason=reason))


@devices.command(epilog=_EXAMPLES)
@click.argument("node", metavar="NAME")
@click.option("--reason", required=True, help="Why, for those who read the log.")
@settings_options(mesh=_PLACE)
def revoke(mesh: MeshSettings, node: str, reason: str) -> None:
    """Shut a device out for good; its connection is cut, and neither its key nor its name can be used again."""
    _decide(mesh, node, lambda log, name: log.revoke(name, by=_operator(), reason=reason))


@devices.command(epilog=_EXAMPLES)
@click.argument("did", metavar="DID")
@click.option("--key", "key_file", required=True, metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--passphrase-file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--days", default=365, show_default=True, type=click.IntRange(1, 3650), help="How long it holds.")
def credential(did: str, key_file: Path, passphrase_file: Path | None, days: int) -> None:
    """Write an issuer's credential for a device, for meshes that name the issuer in `credential_issuers`."""
    issuer = open_key(key_file, passphrase_file)
    lasts = timedelta(days=days)
    click.echo(issue_credential(issuer.did, issuer.key, parse_did(did), now_s=int(time.time()), lasts=lasts))


def _decide(mesh: MeshSettings, node: str, decide: Callable[[DeviceLog, Token], Awaitable[Device]]) -> None:
    made: list[Device] = []

    async def work(bus: Bus) -> None:
        made.append(await decide(await _log(bus), token(node)))

    run_on_bus(mesh, "devices", work)
    device = made[0]
    click.echo(f"{device.node} is {'expected' if device.is_expected else device.standing}")


async def _log(bus: Bus) -> DeviceLog:
    log = DeviceLog(bus.core)
    await log.start()
    await log.stop()
    return log


def _operator() -> str:
    return f"operator {getpass.getuser()}"


def _line(device: Device) -> DeviceLine:
    at_ms = device.changed_at_ms
    return DeviceLine(
        node=device.node,
        standing="expected" if device.is_expected else str(device.standing),
        did=device.did or "",
        by=device.by,
        reason=device.reason,
        task=device.task or "",
        proved_by=device.proved_by,
        owner=device.owner or "",
        stake=device.stake,
        reputation=round(score(device.checks, NOTHING, now_ms=now_ms()), 3),
        changed_at=_moment(at_ms) if at_ms else None,
        stale_reading_of=None if device.stale_read_at_ms is None else _moment(device.stale_read_at_ms),
    )


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def _print_devices(found: list[Device]) -> None:
    if not found:
        terminal().err.print("No device has come yet.", markup=False)
        return
    columns = tuple(map(Column, ("NAME", "STANDING", "SINCE", "DID", "REASON")))
    rows = [
        (
            device.node,
            (line.standing, _STYLES[device.standing]),
            *("" if line.changed_at is None else show_time(line.changed_at), line.did, line.reason),
        )
        for device, line in ((device, _line(device)) for device in found)
    ]
    print_table(terminal(), columns, rows)
