"""``ig3 did``: keys and DIDs of devices and users."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, cast, get_args

import click

from mesh.commands.did_chain import register, verify
from mesh.commands.passphrases import new_passphrase
from mesh.errors import KeyFileError
from mesh.identity.accounts import evm_account, substrate_account
from mesh.identity.did import Method, did_key, did_peaq, did_pkh
from mesh.identity.key_file import DeviceKey, read_public_part, write_key_file
from mesh.identity.keys import Algorithm, SigningKey
from mesh.identity.multikey import encode_multikey
from mesh.processes.terminal import terminal

if TYPE_CHECKING:
    from mesh.identity.did import Did
    from mesh.identity.keys import PublicKey

PEAQ_EVM_CHAIN: Final = "eip155:3338"
POLKADOT_CHAIN: Final = "polkadot:91b171bb158e2d3848fa23a9f1c25182"

_PATH: Final = click.Path(path_type=Path, dir_okay=False)
_EXAMPLES: Final = """\b
Examples:
  ig3 did create --out me.key                           # a did:key, sealed by a passphrase that is asked for
  ig3 did create --method peaq --algorithm sr25519 --passphrase-file pass --out me.key
  ig3 did create --no-passphrase --out .ig3/credentials/devices/attic.key    # for the node `attic`
  ig3 did show me.key                                   # whose it is; no passphrase needed
  ig3 did register me.key                               # its document, onto the chain peaq
  ig3 did verify did:peaq:5Grw...                       # would it get in, and if not, by which rule?
"""


@click.group(epilog=_EXAMPLES)
def did() -> None:
    """Make keys and DIDs for devices and users, and check them as the mesh does.

    A DID names a key, or the account of a key on a chain. Whoever has the key can prove to be who it names.
    """


did.add_command(register)
did.add_command(verify)


@did.command(epilog=_EXAMPLES)
@click.option(
    "--algorithm", type=click.Choice(get_args(Algorithm)), default="ed25519", show_default=True, help="What the key is."
)
@click.option(
    "--method",
    type=click.Choice(get_args(Method)),
    default="key",
    show_default=True,
    help="What the DID names: the key itself, its account on peaq, or on a chain of CAIP-10. On peaq and in pkh, a "
    "secp256k1 key is an EVM account.",
)
@click.option(
    "--chain",
    metavar="CAIP-2",
    help=f"Chain of --method pkh.  [default {PEAQ_EVM_CHAIN} for secp256k1, {POLKADOT_CHAIN} for the others]",
)
@click.option(
    "--passphrase-file", type=_PATH, metavar="FILE", help="Seal the key by the first line of this file (0600)."
)
@click.option("--no-passphrase", is_flag=True, help="Do not seal it: for nodes that start with nobody there.")
@click.option("--out", type=_PATH, required=True, metavar="FILE", help="Where to write the key. Never written over.")
def create(
    algorithm: str, method: str, chain: str | None, passphrase_file: Path | None, no_passphrase: bool, out: Path
) -> None:
    """Make a key, write it to a file for its owner alone, and print its DID.

    Without --passphrase-file and --no-passphrase it asks for a passphrase, twice.
    """
    if chain is not None and method != "pkh":
        raise click.UsageError("--chain belongs to --method pkh: the other methods name no chain")
    if no_passphrase and passphrase_file is not None:
        raise click.UsageError("give --passphrase-file or --no-passphrase, not both")
    key = SigningKey.generate(cast("Algorithm", algorithm))
    made = _did_of(key.public, cast("Method", method), chain)
    _refuse_taken(out)
    passphrase = None if no_passphrase else new_passphrase(passphrase_file)
    if not write_key_file(out, DeviceKey(made, key), passphrase):
        _refuse_taken(out)
    click.echo(made)
    kept = "not sealed: whoever reads it is this DID" if no_passphrase else "sealed: without the passphrase it is lost"
    terminal().err.print(f"The key is in {out}, {kept}. Keep a copy elsewhere.", markup=False)


@did.command(epilog=_EXAMPLES)
@click.argument("file", type=_PATH)
def show(file: Path) -> None:
    """Show whose key a file holds: its DID, algorithm, public key and fingerprint.

    The fingerprint is how subjects and lists name the DID. The secret is not looked at.
    """
    said = read_public_part(file)
    rows = {
        "did": said.did.text,
        "algorithm": said.public_key.algorithm,
        "public key": said.public_key.raw.hex(),
        "multikey": encode_multikey(said.public_key),
        "fingerprint": said.did.fingerprint,
        "sealed": "by a passphrase" if said.is_sealed else "no",
    }
    for name, value in rows.items():
        terminal().out.print(f"{name:<11}  {value}", markup=False)


def _did_of(key: PublicKey, method: Method, chain: str | None) -> Did:
    match method:
        case "key":
            return did_key(key)
        case "peaq":
            return did_peaq(evm_account(key) if key.algorithm == "secp256k1" else substrate_account(key))
        case "pkh":
            if key.algorithm == "secp256k1":
                return did_pkh(evm_account(key), chain or PEAQ_EVM_CHAIN)
            return did_pkh(substrate_account(key), chain or POLKADOT_CHAIN)


def _refuse_taken(out: Path) -> None:
    if out.exists():
        raise KeyFileError(f"{out} is there already: keys are never written over; choose another name")
