"""The nkeys of a mesh's own users: seeds on this machine, public keys in the broker's configuration.

A seed is made once per data folder and never leaves it. Whoever reads a seed is that user, so a file that others can
read is refused rather than used.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Final, Literal

from msgspec import Struct

from mesh.broker.nkey import new_user_seed, public_key_of
from mesh.errors import CredentialsError

UserName = Literal["edge-service", "core-service", "system", "node", "user"]
"""The users of nats.conf; what each may do stands there."""

Account = Literal["EDGE", "CORE", "SYS"]

ACCOUNTS: Final[dict[UserName, Account]] = {
    "edge-service": "EDGE",
    "core-service": "CORE",
    "system": "SYS",
    "node": "EDGE",
    "user": "EDGE",
}

_FOLDER: Final = "credentials"
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class Credential(Struct, frozen=True, kw_only=True):
    """One user of the broker. ``seed_path`` is what NATS clients take; the seed itself is never kept in memory."""

    name: UserName
    account: Account
    seed_path: Path
    public_key: str


class Credentials(Struct, frozen=True, kw_only=True):
    """All users of one mesh."""

    edge_service: Credential
    core_service: Credential
    system: Credential
    node: Credential
    user: Credential

    @staticmethod
    def load_or_create(data_dir: Path) -> Credentials:
        """Load the credentials of a data folder, making those that are not there yet.

        Raises:
            CredentialsError: if a file is damaged or others can read it, or the folder cannot be written.
        """
        folder = data_dir / _FOLDER
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in ACCOUNTS:
                _create(folder / f"{name}.nk")
        except OSError as error:
            raise CredentialsError(f"cannot write credentials to {folder}: {error.strerror}") from error
        return Credentials.load(data_dir)

    @staticmethod
    def load(data_dir: Path) -> Credentials:
        """Load the credentials of a data folder.

        Raises:
            CredentialsError: if one is missing or damaged, or others can read it.
        """
        folder = data_dir / _FOLDER
        refuse_shared(folder, "chmod 700")
        return Credentials(
            edge_service=_load(folder, "edge-service"),
            core_service=_load(folder, "core-service"),
            system=_load(folder, "system"),
            node=_load(folder, "node"),
            user=_load(folder, "user"),
        )

    @staticmethod
    def load_one(data_dir: Path, name: UserName) -> Credential:
        """Load one credential: a device holds no other than its own.

        Raises:
            CredentialsError: if it is missing or damaged, or others can read it.
        """
        return _load(data_dir / _FOLDER, name)

    def all(self) -> tuple[Credential, ...]:
        """Every credential, in the order of the fields."""
        return (self.edge_service, self.core_service, self.system, self.node, self.user)


def _create(path: Path) -> None:
    """Write a fresh seed, whole and only once, even if two processes start at the same time."""
    if path.exists():
        return
    fresh = path.with_suffix(f".{os.getpid()}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(f"{new_user_seed()}\n".encode())
        file.flush()
        os.fsync(file.fileno())
    with contextlib.suppress(FileExistsError):
        # A link fails where the name is taken, so the first of two processes wins and the other uses its seed.
        os.link(fresh, path)
    fresh.unlink()


def _load(folder: Path, name: UserName) -> Credential:
    path = folder / f"{name}.nk"
    refuse_shared(path, "chmod 600")
    return Credential(name=name, account=ACCOUNTS[name], seed_path=path, public_key=_public_key(path))


def refuse_shared(path: Path, remedy: str) -> None:
    """Refuse a file or folder of secrets that others may read; ``remedy`` is the command that shuts it.

    Raises:
        CredentialsError: if it is missing, or open to others.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError as error:
        raise CredentialsError(
            f"{path} does not exist: start the broker once on this data folder, or copy it from where it runs"
        ) from error
    except OSError as error:
        raise CredentialsError(f"cannot look at {path}: {error.strerror}") from error
    if mode & _OTHERS:
        raise CredentialsError(f"{path} is open to other users (mode {mode:04o}): {remedy} {path}")


def _public_key(path: Path) -> str:
    try:
        return public_key_of(path.read_text("ascii").strip())
    except OSError as error:
        raise CredentialsError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise CredentialsError(
            f"{path} is damaged ({error}): restore it, or delete it to get a new one at the next start of the broker"
        ) from error
