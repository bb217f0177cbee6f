"""Streams that are encrypted on the disk: the key, and whether it is the one that they were made with.

nats-server does the encrypting. It does not check the key: with another one, or none, it starts, shows no streams, and
lets new ones be made in the place of the old. With another cipher it converts, and loses streams that are empty. So
what a store was made with is written beside it, and a server that would not find its streams is not started.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from typing import TYPE_CHECKING, Final, Literal

import msgspec
from msgspec import Struct

from mesh.errors import CredentialsError, StoreMismatch
from mesh.secret_file import read_secret, write_secret_once

if TYPE_CHECKING:
    from pathlib import Path

StoreCipher = Literal["off", "aes", "chachapoly"]
"""How streams are encrypted on the disk. ``aes`` costs less where the processor helps, ``chachapoly`` elsewhere."""

KEY_FILE: Final = "store.key"
VARIABLE: Final = "IG3_BROKER_STORE_KEY"

_RECORD: Final = "jetstream.cipher"
_KEY_BYTES: Final = 32
_PURPOSE: Final = b"ig3-store-key-v1"
_MARK_LENGTH: Final = 16


class StoreRecord(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a store was made with. ``mark`` follows from the key, and tells nothing about it."""

    cipher: StoreCipher
    mark: str


def settle_cipher(store: Path, data_dir: Path, cipher: StoreCipher) -> None:
    """Prepare to run a server on ``store``, the folder of its streams: make the key for a new one, check it for an old.

    Raises:
        StoreMismatch: if the streams there were made with another cipher or key, or without.
        CredentialsError: if the key cannot be made, read, or others can read it.
    """
    path = store.with_name(_RECORD)
    if not store.is_dir() or not any(store.iterdir()):
        _write_record(path, data_dir, cipher)
        return
    made_with = _read_record(path)
    if made_with is None and cipher == "off":
        return
    if made_with is None:
        raise StoreMismatch(
            f"the streams in {store} are not encrypted, and what they hold would stay so: encrypt_store is for a new "
            f"data folder; leave it off here, or choose another one with --data-dir"
        )
    if made_with.cipher != cipher:
        raise StoreMismatch(
            f"the streams in {store} are encrypted: set encrypt_store = {made_with.cipher} (it is {cipher}); otherwise "
            f"they would not be found, and new ones made in their place"
        )
    if made_with.mark != _mark_of(store_key(data_dir)):
        raise StoreMismatch(
            f"{_key_path(data_dir)} is not the key that the streams in {store} were made with: they would not be "
            f"found, and new ones made in their place. Put the right key there"
        )


def store_key(data_dir: Path) -> str:
    """Read the key of the stores of a data folder.

    Raises:
        CredentialsError: if it is not there, is damaged, or others can read it.
    """
    path = _key_path(data_dir)
    text = read_secret(path, if_missing="the streams cannot be read without it: bring back the copy that you keep")
    key = text.decode("ascii", errors="replace").strip()
    if len(key) != 2 * _KEY_BYTES or not key.isalnum():
        raise CredentialsError(f"{path} is damaged: bring back the copy that you keep")
    return key


def cipher_lines(cipher: StoreCipher) -> tuple[str, ...]:
    """Return what nats.conf gets in its block ``jetstream``; the key itself comes from the environment."""
    return () if cipher == "off" else (f"cipher: {cipher}", f"key: ${VARIABLE}")


def cipher_variables(data_dir: Path, cipher: StoreCipher) -> dict[str, str]:
    """Return what nats-server reads from the environment and nobody else may.

    Raises:
        CredentialsError: if the key cannot be used.
    """
    return {} if cipher == "off" else {VARIABLE: json.dumps(store_key(data_dir))}


def _write_record(path: Path, data_dir: Path, cipher: StoreCipher) -> None:
    try:
        path.unlink(missing_ok=True)
        if cipher == "off":
            return
        write_secret_once(_key_path(data_dir), f"{secrets.token_hex(_KEY_BYTES)}\n".encode())
        record = StoreRecord(cipher=cipher, mark=_mark_of(store_key(data_dir)))
        # No secret, but it must be there after a power cut if the store is.
        write_secret_once(path, msgspec.json.encode(record))
    except OSError as error:
        raise CredentialsError(f"cannot prepare an encrypted store at {path}: {error.strerror}") from error


def _read_record(path: Path) -> StoreRecord | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=StoreRecord)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise StoreMismatch(
            f"{path} cannot be read, so it is not known how the streams are encrypted: {error}"
        ) from error


def _key_path(data_dir: Path) -> Path:
    return data_dir / "credentials" / KEY_FILE


def _mark_of(key: str) -> str:
    return hmac.new(key.encode(), _PURPOSE, hashlib.sha256).hexdigest()[:_MARK_LENGTH]
