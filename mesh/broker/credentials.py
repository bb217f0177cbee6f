"""The nkeys of a mesh's own users: seeds on this machine, public keys in the broker's configuration.

A seed is made once per data folder and never leaves it. Whoever reads a seed is that user, so a file that others can
read is refused rather than used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from msgspec import Struct

from mesh.broker.nkey import new_user_seed, public_key_of
from mesh.errors import CredentialsError
from mesh.secret_file import read_secret, refuse_shared_folder, write_secret_once

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
_IF_MISSING: Final = "start the broker once on this data folder, or copy it from where it runs"


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
                write_secret_once(folder / f"{name}.nk", f"{new_user_seed()}\n".encode())
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
        refuse_shared_folder(folder, if_missing=_IF_MISSING)
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


def _load(folder: Path, name: UserName) -> Credential:
    path = folder / f"{name}.nk"
    return Credential(name=name, account=ACCOUNTS[name], seed_path=path, public_key=_public_key(path))


def _public_key(path: Path) -> str:
    seed = read_secret(path, if_missing=_IF_MISSING)
    try:
        return public_key_of(seed.decode("ascii").strip())
    except ValueError as error:
        raise CredentialsError(
            f"{path} is damaged ({error}): restore it, or delete it to get a new one at the next start of the broker"
        ) from error
