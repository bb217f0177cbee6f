"""What is looked at, as values: a rule sees these and nothing else."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from msgspec import Struct

from mesh.config.address import Address

Line = Literal["gateway", "nats", "monitoring", "routes", "leafnodes"]

QUICK_S: Final = 2.0
"""A login that takes longer keeps people waiting."""


class Listener(Struct, frozen=True, kw_only=True):
    """Something that listens, or would."""

    line: Line
    address: Address
    is_encrypted: bool
    asks_who: bool
    """Whether whoever connects must say who they are."""


class FileFact(Struct, frozen=True, kw_only=True):
    """A file or folder that others should not open, with its mode."""

    path: Path
    mode: int
    is_folder: bool = False


class KeyFact(Struct, frozen=True, kw_only=True):
    """A key file in the data folder."""

    path: Path
    did: str
    is_sealed: bool


class CertificateFact(Struct, frozen=True, kw_only=True):
    """A certificate that the settings name."""

    setting: str
    path: Path
    problem: str = ""
    """Why it cannot be used."""
    not_before: datetime | None = None
    not_after: datetime | None = None
    names: tuple[str, ...] = ()
    """Whom it is for: DNS names and IP addresses."""
    hosts: tuple[str, ...] = ()
    """By which others come, as far as the settings tell."""
    key_mode: int | None = None


class UrlFact(Struct, frozen=True, kw_only=True):
    """A URL in the settings, without user, password and path."""

    setting: str
    scheme: str
    host: str


class BrokerFact(Struct, frozen=True, kw_only=True):
    """What the broker says."""

    problem: str = ""
    """Why it could not be asked."""
    wrong: tuple[str, ...] = ()
    """Streams and consumers that are missing or differ."""
    ahead_s: float = 0.0
    """How far its clock is ahead of this machine's, at least."""


class IdentityFact(Struct, frozen=True, kw_only=True):
    """What became of somebody who showed nothing that could be good."""

    outcome: Literal["refused", "admitted", "undecided", "not asked"]
    took_s: float = 0.0


class DiskFact(Struct, frozen=True, kw_only=True):
    """The disk of the data folder."""

    free_bytes: int
    total_bytes: int


class SettingsFact(Struct, frozen=True, kw_only=True):
    """Choices of the operator that need no looking."""

    admission: str
    durability: str
    encrypt_store: str
    secrets_in_variables: tuple[str, ...] = ()
    """Variables of the environment that hold a secret."""
    secrets_file: FileFact | None = None
    """The settings file, if it holds a secret."""


class ProcessFact(Struct, frozen=True, kw_only=True):
    """A process whose command line shows a secret to everybody on this machine."""

    pid: int
    name: str


class Facts(Struct, frozen=True, kw_only=True):
    """All that was found out, and when."""

    now: datetime
    settings: SettingsFact
    listeners: tuple[Listener, ...]
    files: tuple[FileFact, ...]
    keys: tuple[KeyFact, ...]
    certificates: tuple[CertificateFact, ...]
    urls: tuple[UrlFact, ...]
    broker: BrokerFact
    identity: IdentityFact
    disk: DiskFact
    processes: tuple[ProcessFact, ...]
    server_version: tuple[int, ...] | None
    """Of nats-server; None: it is not installed here."""
