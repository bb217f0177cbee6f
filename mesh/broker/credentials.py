"""The nkeys of a mesh's own users: seeds on this machine, public keys in the broker's configuration.

A seed is made once per data folder and never leaves it. Whoever reads a seed is that user, so a file that others can
read is refused rather than used. Devices and other people have no such key: they prove who they are to the identity
service, whose own two keys (it signs rights, and the broker seals questions for it) lie here too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from msgspec import Struct

from mesh.broker.nkey import KeyKind, new_seed, public_key_of
from mesh.errors import CredentialsError
from mesh.secret_file import read_secret, refuse_shared_folder, write_secret_once

UserName = Literal["edge-service", "core-service", "system", "identity", "user"]
"""The users of nats.conf; what each may do stands there."""

SignerName = Literal["issuer", "sealed"]
"""Keys of the identity service that connect nobody: it signs with one, and is written to under the other."""

Account = Literal["EDGE", "CORE", "SYS", "AUTH"]

ACCOUNTS: Final[dict[UserName, Account]] = {
    "edge-service": "EDGE",
    "core-service": "CORE",
    "system": "SYS",
    "identity": "AUTH",
    "user": "EDGE",
}
SIGNERS: Final[dict[SignerName, KeyKind]] = {"issuer": KeyKind.ACCOUNT, "sealed": KeyKind.CURVE}

_FOLDER: Final = "credentials"
_IF_MISSING: Final = "start the broker once on this data folder, or copy it from where it runs"


class Credential(Struct, frozen=True, kw_only=True):
    """One user of the broker. ``seed_path`` is what NATS clients take; the seed itself is never kept in memory."""

    name: UserName
    account: Account
    seed_path: Path
    public_key: str


class Signer(Struct, frozen=True, kw_only=True):
    """One key of the identity service."""

    name: SignerName
    kind: KeyKind
    seed_path: Path
    public_key: str

    def seed(self) -> str:
        """Read the secret; the less often, the better.

        Raises:
            CredentialsError: if it cannot be read any more.
        """
        return read_secret(self.seed_path, if_missing=_IF_MISSING).decode("ascii").strip()


class IdentityCredentials(Struct, frozen=True, kw_only=True):
    """What an identity service needs, and no more."""

    core_service: Credential
    system: Credential
    identity: Credential
    issuer: Signer
    sealed: Signer

    @staticmethod
    def load(data_dir: Path) -> IdentityCredentials:
        """Load them from a data folder.

        Raises:
            CredentialsError: if one is missing or damaged, or others can read it.
        """
        core, system, identity = Credentials.load_some(data_dir, "core-service", "system", "identity")
        folder = data_dir / _FOLDER
        return IdentityCredentials(
            core_service=core,
            system=system,
            identity=identity,
            issuer=_load_signer(folder, "issuer"),
            sealed=_load_signer(folder, "sealed"),
        )


class Credentials(Struct, frozen=True, kw_only=True):
    """All users of one mesh, and the keys of its identity service."""

    edge_service: Credential
    core_service: Credential
    system: Credential
    identity: Credential
    user: Credential
    issuer: Signer
    sealed: Signer

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
                write_secret_once(folder / f"{name}.nk", f"{new_seed()}\n".encode())
            for name, kind in SIGNERS.items():
                write_secret_once(folder / f"{name}.nk", f"{new_seed(kind)}\n".encode())
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
            identity=_load(folder, "identity"),
            user=_load(folder, "user"),
            issuer=_load_signer(folder, "issuer"),
            sealed=_load_signer(folder, "sealed"),
        )

    @staticmethod
    def load_some(data_dir: Path, *names: UserName) -> tuple[Credential, ...]:
        """Load the credentials that a service needs, in the order of ``names``; the others need not be there.

        Raises:
            CredentialsError: if one of them is missing or damaged, or others can read it.
        """
        folder = data_dir / _FOLDER
        refuse_shared_folder(folder, if_missing=_IF_MISSING)
        return tuple(_load(folder, name) for name in names)

    @staticmethod
    def load_one(data_dir: Path, name: UserName) -> Credential:
        """Load one credential: a client holds no other than its own.

        Raises:
            CredentialsError: if it is missing or damaged, or others can read it.
        """
        return _load(data_dir / _FOLDER, name)

    @property
    def for_identity(self) -> IdentityCredentials:
        """Those of an identity service."""
        return IdentityCredentials(
            core_service=self.core_service,
            system=self.system,
            identity=self.identity,
            issuer=self.issuer,
            sealed=self.sealed,
        )

    def all(self) -> tuple[Credential, ...]:
        """Every user, in the order of the fields."""
        return (self.edge_service, self.core_service, self.system, self.identity, self.user)


def _load(folder: Path, name: UserName) -> Credential:
    path = folder / f"{name}.nk"
    return Credential(name=name, account=ACCOUNTS[name], seed_path=path, public_key=_public_key(path))


def _load_signer(folder: Path, name: SignerName) -> Signer:
    path, kind = folder / f"{name}.nk", SIGNERS[name]
    return Signer(name=name, kind=kind, seed_path=path, public_key=_public_key(path, kind))


def _public_key(path: Path, kind: KeyKind = KeyKind.USER) -> str:
    seed = read_secret(path, if_missing=_IF_MISSING)
    try:
        return public_key_of(seed.decode("ascii").strip(), kind)
    except ValueError as error:
        raise CredentialsError(
            f"{path} is damaged ({error}): restore it, or delete it to get a new one at the next start of the broker"
        ) from error
