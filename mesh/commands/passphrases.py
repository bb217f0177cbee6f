"""Passphrases of key files, from a file or a terminal: never from a flag, which every user of the machine can read."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from mesh.errors import WrongPassphrase
from mesh.identity.key_file import DeviceKey, open_key_file, read_public_part
from mesh.secret_file import read_secret

if TYPE_CHECKING:
    from pathlib import Path


def new_passphrase(file: Path | None) -> str:
    """Read the first line of a file for its owner alone; without one, ask twice.

    Raises:
        WrongPassphrase: if there is no terminal to ask on.
        CredentialsError: if the file cannot be read, or others can read it.
    """
    if file is not None:
        return _first_line(file)
    if not sys.stdin.isatty():
        raise WrongPassphrase(
            "there is no terminal to ask for a passphrase on: give --passphrase-file FILE, or --no-passphrase"
        )
    return click.prompt("Passphrase", hide_input=True, confirmation_prompt=True, err=True, type=str)


def open_key(path: Path, passphrase_file: Path | None = None) -> DeviceKey:
    """Open a key file for a command. Only for a sealed one it reads the passphrase file, or asks.

    Raises:
        WrongPassphrase: if the passphrase is another, or there is no terminal to ask on.
        KeyFileError: if the key file is damaged.
        CredentialsError: if one of the files cannot be read, or others can read it.
    """
    if not read_public_part(path).is_sealed:
        return open_key_file(path)
    if passphrase_file is not None:
        return open_key_file(path, _first_line(passphrase_file))
    if not sys.stdin.isatty():
        raise WrongPassphrase(f"{path} is sealed, and there is no terminal to ask on: give --passphrase-file FILE")
    return open_key_file(path, click.prompt(f"Passphrase of {path}", hide_input=True, err=True, type=str))


def _first_line(file: Path) -> str:
    return read_secret(file).decode(errors="surrogateescape").partition("\n")[0].removesuffix("\r")
