"""The keys that sign sessions, and the secret that marks our nonces: one file, the same for all gateways of a mesh.

``<data>/credentials/sessions.json`` (0600) is made with the broker's credentials and copied with them. A new key signs
as soon as it is in the file; the one before verifies until its last session is over.
"""

from __future__ import annotations

import logging
import secrets
import time
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct
from nacl.signing import SigningKey

from mesh.errors import CredentialsError
from mesh.secret_file import read_secret, replace_secret, write_secret_once

if TYPE_CHECKING:
    from pathlib import Path

    from nacl.signing import VerifyKey

log = logging.getLogger(__name__)

SESSION_S: Final = 15 * 60
"""How long a session is good."""

SKEW_S: Final = 60
"""How far the clocks of two gateways may differ."""

FILE: Final = "credentials/sessions.json"
"""Where the file lies in a data folder."""

_LOOK_EVERY_S: Final = 1.0
_SECRET_BYTES: Final = 32
_IF_MISSING: Final = "copy it from where the broker runs"


class _Key(Struct, frozen=True, kw_only=True):
    kid: str
    seed: bytes
    made_at_s: int


class _File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    mesh: str
    nonce_secret: bytes
    keys: tuple[_Key, ...]
    """The newest is the last, and signs."""


class SessionKeys:
    """The file, read again when it changes. Nothing shows a secret but the attributes that are one."""

    def __init__(self, path: Path) -> None:
        """Use ``path``, which must be there.

        Raises:
            CredentialsError: if it is missing or damaged, or others can read it.
        """
        self._path = path
        self._looked_at_s = time.monotonic()
        self._generation = 0
        self._version = _version(path)
        self._take(_read(path))

    @staticmethod
    def load_or_create(data_dir: Path) -> SessionKeys:
        """Load the keys of a data folder, making them if there are none.

        Raises:
            CredentialsError: if the file is damaged or others can read it, or it cannot be written.
        """
        path = data_dir / FILE
        if not path.exists():
            fresh = _File(
                mesh=secrets.token_hex(8), nonce_secret=secrets.token_bytes(_SECRET_BYTES), keys=(_new_key(),)
            )
            _write(path, fresh, only_if_missing=True)
        return SessionKeys(path)

    @property
    def issuer(self) -> str:
        """What sessions of this mesh name as who signed them."""
        return f"ig3:{self._mesh}"

    @property
    def generation(self) -> int:
        """Another number whenever the keys are others: what was verified before has to be verified again."""
        self._look()
        return self._generation

    @property
    def kid(self) -> str:
        """The name of the key that signs now."""
        self._look()
        return self._kid

    def sign(self, kid: str, data: bytes) -> bytes:
        """Sign with one of the keys."""
        return self._signing[kid].sign(data).signature

    def verifying(self, kid: str) -> VerifyKey | None:
        """The public key of this name, or None if there is none, or no longer."""
        self._look()
        return self._verifying.get(kid)

    def rotate(self, *, end_all: bool = False) -> str:
        """Have a new key sign from now on; returns its name. Keys whose last session is over go.

        With ``end_all`` all others go: every session ends now, and everybody signs in again.

        Raises:
            CredentialsError: if the file cannot be read or written.
        """
        held, fresh = _read(self._path), _new_key()
        # A key has signed until its successor was made, and other gateways look a moment later.
        successors = [*(key.made_at_s for key in held.keys[1:]), fresh.made_at_s]
        oldest_s = fresh.made_at_s - SESSION_S - SKEW_S
        keys = tuple(key for key, until_s in zip(held.keys, successors, strict=True) if until_s >= oldest_s)
        kept = () if end_all else keys
        _write(self._path, msgspec.structs.replace(held, keys=(*kept, fresh)), only_if_missing=False)
        self._version = _version(self._path)
        self._take(_read(self._path))
        return fresh.kid

    def _take(self, held: _File) -> None:
        self._mesh, self.nonce_secret = held.mesh, held.nonce_secret
        self._signing = {key.kid: SigningKey(key.seed) for key in held.keys}
        self._verifying = {kid: key.verify_key for kid, key in self._signing.items()}
        self._kid = held.keys[-1].kid
        self._generation += 1

    def _look(self) -> None:
        """Read the file again if it is another one; while it cannot be read, what was read before holds."""
        now_s = time.monotonic()
        if now_s - self._looked_at_s < _LOOK_EVERY_S:
            return
        self._looked_at_s = now_s
        try:
            version = _version(self._path)
            if version != self._version:
                self._take(_read(self._path))
                self._version = version
        except CredentialsError as error:
            log.error("the keys of sessions stay as they were: %s", error)


def _new_key() -> _Key:
    return _Key(kid=secrets.token_hex(8), seed=secrets.token_bytes(_SECRET_BYTES), made_at_s=int(time.time()))


def _version(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    return stat.st_ino, stat.st_mtime_ns


def _read(path: Path) -> _File:
    content = read_secret(path, if_missing=_IF_MISSING)
    try:
        held = msgspec.json.decode(content, type=_File)
        if not held.keys or {len(key.seed) for key in held.keys} | {len(held.nonce_secret)} != {_SECRET_BYTES}:
            raise msgspec.ValidationError("no key, or one of another length")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CredentialsError(f"{path} is damaged: restore it, or delete it, and everybody signs in again") from error
    return held


def _unreadable(path: Path, error: OSError) -> CredentialsError:
    return CredentialsError(f"cannot read {path}: {error.strerror}; {_IF_MISSING}")


def _write(path: Path, held: _File, *, only_if_missing: bool) -> None:
    content = msgspec.json.format(msgspec.json.encode(held)) + b"\n"
    try:
        if only_if_missing:
            write_secret_once(path, content)
        else:
            replace_secret(path, content)
    except OSError as error:
        raise CredentialsError(f"cannot write {path}: {error.strerror}") from error
