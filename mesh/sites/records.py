"""What a hub keeps of its sites (public keys only), and what a site keeps of its hub: the seeds of its own links."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from mesh.broker.nkey import new_seed, public_key_of
from mesh.errors import CredentialsError, SiteError
from mesh.secret_file import read_secret
from streams.errors import InvalidToken
from streams.sites import site_name
from streams.tokens import Token

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T", bound=Struct)

_FOLDER: Final = "sites"
_JOINED: Final = "site.json"
ResultsStreams = Annotated[int, Meta(ge=1, le=16)]


class SiteRecord(Struct, frozen=True, kw_only=True):
    """One site, as its hub knows it."""

    site: Token
    results_streams: ResultsStreams
    edge_key: str
    core_key: str


class Join(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What makes a mesh a site of a hub. Who has it is the site, so it is carried once and never shown."""

    site: Token
    results_streams: ResultsStreams
    edge_seed: str
    core_seed: str

    def __repr__(self) -> str:
        """Name the site and no secret: values end up in logs."""
        return f"Join(site={self.site!r})"


def site_records(data_dir: Path) -> tuple[SiteRecord, ...]:
    """Return the sites of a hub, by name.

    Raises:
        SiteError: if a record is damaged.
    """
    files = sorted((data_dir / _FOLDER).glob("*.json"))
    return tuple(_read_record(path) for path in files)


def add_site(data_dir: Path, name: str, *, results_streams: int, join_file: Path) -> SiteRecord:
    """Make the credentials of a new site: the seeds go to ``join_file``, the public keys stay here.

    Raises:
        SiteError: if there is such a site, or the name is none.
        CredentialsError: if the file is there already or cannot be written.
    """
    site = _checked(name)
    record_path = data_dir / _FOLDER / f"{site}.json"
    if record_path.exists():
        raise SiteError(f"there is a site {site}: `ig3 sites remove {site}` first, if it is to get new credentials")
    join = Join(site=site, results_streams=results_streams, edge_seed=new_seed(), core_seed=new_seed())
    record = SiteRecord(
        site=site,
        results_streams=results_streams,
        edge_key=public_key_of(join.edge_seed),
        core_key=public_key_of(join.core_seed),
    )
    _write_secret(join_file, join)
    record_path.parent.mkdir(parents=True, exist_ok=True)
    fresh = record_path.with_suffix(".new")
    fresh.write_bytes(_encoded(record))
    fresh.replace(record_path)
    return record


def remove_site(data_dir: Path, name: str) -> None:
    """Forget a site's credentials; what the hub holds of its events stays.

    Raises:
        SiteError: if there is no such site.
    """
    try:
        (data_dir / _FOLDER / f"{_checked(name)}.json").unlink()
    except FileNotFoundError:
        known = ", ".join(record.site for record in site_records(data_dir)) or "none"
        raise SiteError(f"there is no site {name}; known: {known}") from None


def join_hub(data_dir: Path, join_file: Path) -> Join:
    """Make the mesh of a data folder the site that a join file names.

    Raises:
        SiteError: if it is another site already, or the file is none.
        CredentialsError: if the file cannot be read, others can read it, or the folder cannot be written.
    """
    join = _decoded(join_file, read_secret(join_file), Join)
    _checked(join.site)
    for seed in (join.edge_seed, join.core_seed):
        _check_seed(join_file, seed)
    known = joined(data_dir)
    if known == join:
        return join
    if known is not None:
        raise SiteError(f"{data_dir} is the site {known.site} already: a mesh has one hub and one name")
    _write_secret(_joined_path(data_dir), join)
    return join


def joined(data_dir: Path) -> Join | None:
    """Return what makes this mesh a site; None if it is none.

    Raises:
        SiteError: if the file is damaged.
        CredentialsError: if others can read it.
    """
    path = _joined_path(data_dir)
    if not path.exists():
        return None
    return _decoded(path, read_secret(path), Join)


def _joined_path(data_dir: Path) -> Path:
    return data_dir / "credentials" / _JOINED


def _checked(name: str) -> Token:
    try:
        return site_name(name)
    except InvalidToken as error:
        raise SiteError(str(error)) from error


def _check_seed(path: Path, seed: str) -> None:
    try:
        public_key_of(seed)
    except ValueError as error:
        raise SiteError(f"{path} is damaged ({error}): make a new one with `ig3 sites add` at the hub") from error


def _read_record(path: Path) -> SiteRecord:
    try:
        return _decoded(path, path.read_bytes(), SiteRecord)
    except OSError as error:
        raise CredentialsError(f"cannot read {path}: {error.strerror}") from error


def _decoded(path: Path, content: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SiteError(f"{path} is damaged ({error})") from error


def _write_secret(path: Path, value: Join) -> None:
    """Write a file that only its owner can read, and that is not there yet."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(_encoded(value))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise CredentialsError(f"cannot write {path}: {error.strerror}") from error


def _encoded(value: Struct) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value)) + b"\n"
