"""``ig3 did register`` and ``ig3 did verify``: a DID on the chain, written and looked at as the mesh would."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import msgspec

from mesh.commands.passphrases import open_key
from mesh.config.options import only, settings_options
from mesh.config.quantities import parse_duration
from mesh.errors import SettingsError
from mesh.identity.accounts import EvmAccount
from mesh.identity.did import parse_did
from mesh.identity.peaq.document import encode_document
from mesh.identity.peaq.inspection import DidReport, inspect
from mesh.identity.peaq.own_document import own_document
from mesh.identity.peaq.place import place_of
from mesh.identity.peaq.registration import write_document
from mesh.identity.peaq.signed_document import sign_document
from mesh.identity.settings import IdentitySettings
from mesh.inspection.tables import Column, print_table
from mesh.processes.terminal import terminal

if TYPE_CHECKING:
    from datetime import timedelta

    from mesh.identity.key_file import DeviceKey
    from mesh.identity.keys import SigningKey

_PATH: Final = click.Path(path_type=Path, dir_okay=False)
_CHAIN: Final = only(IdentitySettings, "peaq_endpoints", "peaq_genesis", "peaq_attribute")
_YEAR: Final = "365d"
_EXAMPLES: Final = """\b
Examples:
  ig3 did register me.key                                # the key's account pays the fee
  ig3 did register me.key --payer operator.key --device-key did:key:z6Mk...
  ig3 did register wallet.key --print                    # the document alone, for a wallet of your own to write
  ig3 did verify did:peaq:5Grw...                        # would it get in? exit status 0: yes
  ig3 did verify did:peaq:5Grw... --key device.key       # with this key?
"""


@click.command(epilog=_EXAMPLES)
@click.argument("file", type=_PATH)
@click.option(
    "--device-key", "others", metavar="DID", multiple=True, help="A further key that may sign for it, as did:key."
)
@click.option("--payer", type=_PATH, metavar="FILE", help="The key whose account pays the fee; none: the DID's own.")
@click.option("--valid-for", type=click.IntRange(min=1), metavar="BLOCKS", help="How long the entry shall hold.")
@click.option(
    "--signed-for",
    default=_YEAR,
    show_default=True,
    metavar="DURATION",
    help="How long the document's signature shall hold. Register again before it ends.",
)
@click.option("--passphrase-file", type=_PATH, metavar="FILE", help="Opens FILE by its first line (0600).")
@click.option("--payer-passphrase-file", type=_PATH, metavar="FILE", help="The same for --payer.")
@click.option("--print", "print_only", is_flag=True, help="Print what would be written, and write nothing.")
@settings_options(identity=_CHAIN)
def register(
    identity: IdentitySettings,
    file: Path,
    others: tuple[str, ...],
    payer: Path | None,
    valid_for: int | None,
    signed_for: str,
    passphrase_file: Path | None,
    payer_passphrase_file: Path | None,
    print_only: bool,
) -> None:
    """Write the document of the DID of a key file to the chain, signed by that key, and wait until it is final.

    It lists the DID's own key and those given with --device-key. Written again, it takes the place of the former.
    """
    device = open_key(file, passphrase_file)
    value = _signed_document(device, others, _duration(signed_for))
    place = place_of(device.did, identity.peaq_attribute)
    if print_only:
        click.echo(value)
        return
    if identity.chain is None:
        raise SettingsError("no chain is configured: give --peaq-endpoints and --peaq-genesis, or their settings")
    paying = _payer(device, None if payer is None else open_key(payer, payer_passphrase_file))
    terminal().err.print("Waiting until it is final ...", markup=False)
    written = write_document(identity.chain, place, value, payer=paying, valid_for=valid_for)
    click.echo(device.did)
    done = "written" if written.call == "add_attribute" else "written anew"
    terminal().err.print(f"The document is {done} under {place.names[0]!r}, in block {written.block}.", markup=False)


@click.command(epilog=_EXAMPLES)
@click.argument("did")
@click.option("--key", type=_PATH, metavar="FILE", help="Whether the holder of this key would get in.")
@click.option("--passphrase-file", type=_PATH, metavar="FILE", help="Opens the key by its first line (0600).")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
@settings_options(identity=IdentitySettings)
def verify(identity: IdentitySettings, did: str, key: Path | None, passphrase_file: Path | None, as_json: bool) -> None:
    """Check a DID as the mesh would, and say of each rule whether it holds.

    Exit status 0: it would get in, by its own key, or with --key by that one. 1: it would not.
    """
    signing = None if key is None else open_key(key, passphrase_file).key
    report = asyncio.run(inspect(identity, parse_did(did), signing))
    if as_json:
        click.echo(msgspec.json.encode(report))
    else:
        _print(report, signing)
    sys.exit(0 if report.is_accepted else 1)


def _signed_document(device: DeviceKey, others: tuple[str, ...], lasts: timedelta) -> bytes:
    document = own_document(device.did, device.key.public, [parse_did(text) for text in others])
    until_s = int(time.time() + lasts.total_seconds())
    return encode_document(sign_document(document, device.did, device.key, until_s=until_s)).hex().encode()


def _payer(device: DeviceKey, payer: DeviceKey | None) -> SigningKey:
    if payer is not None:
        return payer.key
    if isinstance(device.did.subject, EvmAccount):
        raise click.UsageError(
            f"{device.did} is an EVM account, which signs no extrinsics: give --payer a key of sr25519 or ed25519, "
            "or let its wallet write what --print prints"
        )
    return device.key


def _duration(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.UsageError(f"--signed-for: {error}") from error


def _print(report: DidReport, key: SigningKey | None) -> None:
    columns = (Column("RULE"), Column("HOLDS"), Column("WHY"))
    rows = [
        (one.name, ("no", "red") if one.why_not else ("yes", "green"), one.why_not or one.how) for one in report.rules
    ]
    print_table(terminal(), columns, rows)
    who = "the holder of this key" if key is not None else "its own key"
    verdict = f"{who} would get in" if report.is_accepted else f"{who} would not get in"
    terminal().err.print(f"{report.did}: {verdict}.", markup=False)
