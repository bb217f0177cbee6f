"""``ig3 keys``: API keys, by which programs speak for an account."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, get_args

import click
import msgspec
from msgspec import Struct

from mesh.access.reading import read_access
from mesh.access.writer import AccessWriter
from mesh.config.options import only, settings_options
from mesh.config.quantities import parse_duration
from mesh.config.settings import MeshSettings
from mesh.errors import AccountError, SettingsError
from mesh.inspection.operator_bus import run_on_bus
from mesh.inspection.tables import Column, print_table, show_time
from mesh.processes.terminal import terminal
from streams.access.events import Right
from streams.access.fold import LOCAL
from streams.access.limits import MOST, Bounds, Limits
from streams.clock import now_ms
from streams.tokens import token

if TYPE_CHECKING:
    from mesh.access.writer import IssuedKey
    from mesh.bus.service_bus import Bus
    from streams.access.fold import Access, ApiKey

_PLACE: Final = only(MeshSettings, "nats", "data_dir")
_LONGEST: Final = timedelta(days=36_500)
_LIMIT: Final = click.IntRange(1, MOST)
_STYLES: Final = {"good": "green", "over": "yellow", "revoked": "red", "account closed": "dim"}
_EXAMPLES: Final = """\b
Examples:
  ig3 keys issue --of acme --name laptop                  # may ask models, and see the account's tasks
  ig3 keys issue --of acme --name ci --right chat --model smollm2-135m-instruct --expires 30d
  ig3 keys issue --of acme --name trial --requests-per-minute 20 --tokens-per-minute 10000
  ig3 keys issue --of acme --name demo --most-output-tokens 256 --most-seconds 30
  ig3 keys list --of acme
  ig3 keys revoke k7q2mzx4c5tab --reason "it leaked"
"""


class KeyLine(Struct, frozen=True, kw_only=True):
    """One API key as ``--json`` prints it; no secret is kept that could be."""

    key_id: str
    account: str
    name: str
    state: str
    rights: tuple[Right, ...]
    models: tuple[str, ...]
    tools: tuple[str, ...]
    limits: Limits
    bounds: Bounds
    issued_at: datetime
    issued_by: str
    expires_at: datetime | None
    revoked_because: str


@click.group(invoke_without_command=True, epilog=_EXAMPLES)
@click.pass_context
def keys(ctx: click.Context) -> None:
    """Issue, list and revoke API keys.

    A program shows its key as `Authorization: Bearer ig3_...`, where OpenAI's clients have their `api_key`.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_keys)


@keys.command(epilog=_EXAMPLES)
@click.option("--of", "account", metavar="ACCOUNT", default=LOCAL, help=f"For which account.  [default: {LOCAL}]")
@click.option("--name", required=True, help="What you call it.")
@click.option(
    "--right",
    "rights",
    type=click.Choice(get_args(Right)),
    multiple=True,
    default=("chat", "read"),
    help="What it may do; several times for several.  [default: chat and read]",
)
@click.option("--model", "models", metavar="MODEL", multiple=True, help="A model that it may ask; none: all.")
@click.option("--tool", "tools", metavar="FUNCTION", multiple=True, help="A function that it may offer; none: all.")
@click.option("--expires", metavar="DURATION", help="After how long it ends: 12h, 30d; not given: never.")
@click.option("--requests-per-minute", type=_LIMIT, metavar="N", help="Requests that it may make, over all gateways.")
@click.option("--tokens-per-minute", type=_LIMIT, metavar="N", help="Tokens that it may use.")
@click.option("--concurrent-streams", type=_LIMIT, metavar="N", help="Streams that it may have open at once.")
@click.option("--most-output-tokens", type=_LIMIT, metavar="N", help="Tokens that one of its answers may have.")
@click.option("--most-seconds", type=_LIMIT, metavar="S", help="How long one of its answers may take.")
@settings_options(mesh=_PLACE)
def issue(
    mesh: MeshSettings,
    account: str,
    name: str,
    rights: tuple[Right, ...],
    models: tuple[str, ...],
    tools: tuple[str, ...],
    expires: str | None,
    most_output_tokens: int | None,
    most_seconds: int | None,
    **limits: int | None,
) -> None:
    """Make an API key, and print it once.

    Only its digest is kept: who loses it gets another one. Limits of a key hold besides those of its account.
    """
    limited = Limits(**limits)
    bounds = Bounds(most_output_tokens=most_output_tokens, most_seconds=most_seconds)
    until = None if expires is None else now_ms() + _duration_ms(expires)
    issued: list[IssuedKey] = []

    async def work(bus: Bus) -> None:
        writer, unique = AccessWriter(bus.core), tuple(dict.fromkeys(rights))
        shown = await writer.issue(
            token(account),
            name=name,
            rights=unique,
            models=models,
            tools=tools,
            limits=limited if limited.has_any else None,
            bounds=bounds if bounds.has_any else None,
            expires_at_ms=until,
        )
        issued.append(shown)

    run_on_bus(mesh, "keys", work)
    click.echo(issued[0].shown.text)
    click.echo("This is shown only now: keep it where nobody else can read it.", err=True)


@keys.command(name="list", epilog=_EXAMPLES)
@click.option("--of", "account", metavar="ACCOUNT", help="Only keys of this account.")
@click.option("--all", "-a", "everything", is_flag=True, help="Also those that are no longer good.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, for programs.")
@settings_options(mesh=_PLACE)
def list_keys(mesh: MeshSettings, account: str | None = None, everything: bool = False, as_json: bool = False) -> None:
    """List API keys, without their secrets, which nobody has kept."""
    access = _read(mesh)
    accounts = [one.account for one in access.accounts()] if account is None else [token(account)]
    lines = [_line(access, key) for name in accounts for key in access.keys_of(name)]
    shown = [line for line in lines if everything or line.state == "good"]
    if as_json:
        for line in shown:
            click.echo(msgspec.json.encode(line))
        return
    columns = tuple(map(Column, ("KEY", "ACCOUNT", "NAME", "STATE", "RIGHTS", "MODELS", "ISSUED", "EXPIRES")))
    rows = [
        (
            *(line.key_id, line.account, line.name, (line.state, _STYLES[line.state])),
            *(",".join(line.rights), ",".join(line.models) or "all", show_time(line.issued_at)),
            show_time(line.expires_at) or "never",
        )
        for line in shown
    ]
    print_table(terminal(), columns, rows)


@keys.command(epilog=_EXAMPLES)
@click.argument("key_id", metavar="KEY")
@click.option("--reason", required=True, help="Why, for whoever looks later.")
@settings_options(mesh=_PLACE)
def revoke(mesh: MeshSettings, key_id: str, reason: str) -> None:
    """Make an API key worth nothing, everywhere and at once.

    KEY is what `ig3 keys list` calls it: the part between the two underscores.
    """

    async def work(bus: Bus) -> None:
        key = (await read_access(bus.core)).access.key(key_id)
        if key is None:
            raise AccountError(f"there is no key {key_id[:20]!r}: `ig3 keys list --all` shows those that there are")
        await AccessWriter(bus.core).revoke(key.account, key_id, reason=reason)

    run_on_bus(mesh, "keys", work)
    click.echo(f"key {key_id} is revoked")


def _duration_ms(text: str) -> int:
    try:
        duration = parse_duration(text)
    except (ValueError, OverflowError) as error:
        raise SettingsError(f"--expires {text!r} is no duration: write 12h or 30d") from error
    if duration > _LONGEST:
        raise SettingsError(f"--expires {text} is longer than {_LONGEST.days} days: leave it out for a key without end")
    return round(duration.total_seconds() * 1000)


def _read(mesh: MeshSettings) -> Access:
    found: list[Access] = []

    async def work(bus: Bus) -> None:
        found.append((await read_access(bus.core)).access)

    run_on_bus(mesh, "keys", work)
    return found[0]


def _line(access: Access, key: ApiKey) -> KeyLine:
    return KeyLine(
        key_id=key.key_id,
        account=key.account,
        name=key.name,
        state=_state(access, key),
        rights=key.rights,
        models=key.models,
        tools=key.tools,
        limits=key.limits,
        bounds=key.bounds,
        issued_at=_time(key.issued_at_ms),
        issued_by=key.by,
        expires_at=None if key.expires_at_ms is None else _time(key.expires_at_ms),
        revoked_because=key.revoked_because,
    )


def _state(access: Access, key: ApiKey) -> str:
    account = access.account(key.account)
    if key.revoked_at_ms is not None:
        return "revoked"
    if account is None or not account.is_open:
        return "account closed"
    return "good" if key.is_good(now_ms=now_ms()) else "over"


def _time(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
