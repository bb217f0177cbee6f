"""What lies in the data folder, and what of it others can open."""

from __future__ import annotations

import shutil
import stat
from typing import TYPE_CHECKING, Final

from mesh.broker.files import ROUTES_ENV_FILE, STORE_FOLDER
from mesh.doctor.facts import CertificateFact, DiskFact, FileFact, KeyFact
from mesh.errors import MeshError, TlsError
from mesh.identity.key_file import DEVICE_KEYS, read_public_part
from mesh.tls.inspection import inspect_pair

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mesh.tls.contexts import TlsFiles

_CREDENTIALS: Final = "credentials"
_SERVERS: Final = "server-*"


def secret_files(data_dir: Path, server_dir: Path | None) -> tuple[FileFact, ...]:
    """Everything below the data folder that is its owner's alone: credentials, streams, secrets of servers."""
    folders = [data_dir, *((server_dir,) if server_dir is not None else ()), *sorted(data_dir.glob(_SERVERS))]
    found: dict[Path, FileFact] = {}
    for path in (
        *_all_below(data_dir / _CREDENTIALS),
        *(folder / STORE_FOLDER for folder in folders),
        *(folder / ROUTES_ENV_FILE for folder in folders),
    ):
        if (fact := file_fact(path)) is not None:
            found[path] = fact
    return tuple(found.values())


def file_fact(path: Path) -> FileFact | None:
    """The mode of a file or folder; None if there is none."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return None
    return FileFact(path=path, mode=stat.S_IMODE(mode), is_folder=stat.S_ISDIR(mode))


def device_keys(data_dir: Path) -> tuple[KeyFact, ...]:
    """The keys of devices that lie here. A file that cannot be read is told by its mode, or by the node itself."""
    found: list[KeyFact] = []
    for path in sorted((data_dir / DEVICE_KEYS).glob("*.key")):
        try:
            part = read_public_part(path)
        except MeshError:
            continue
        found.append(KeyFact(path=path, did=part.did.text, is_sealed=part.is_sealed))
    return tuple(found)


def certificate(setting: str, files: TlsFiles, hosts: tuple[str, ...] = ()) -> CertificateFact | None:
    """What one certificate says; None if none is set."""
    if files.cert is None:
        return None
    key = None if files.key is None else file_fact(files.key)
    mode = None if key is None else key.mode
    try:
        said = inspect_pair(files)
    except TlsError as error:
        return CertificateFact(setting=setting, path=files.cert, problem=str(error), key_mode=mode)
    return CertificateFact(
        setting=setting,
        path=files.cert,
        not_before=said.not_before,
        not_after=said.not_after,
        names=said.names,
        hosts=hosts,
        key_mode=mode,
    )


def disk(data_dir: Path) -> DiskFact:
    """The disk where the data folder is, or would be."""
    there = next(folder for folder in (data_dir, *data_dir.absolute().parents) if folder.exists())
    usage = shutil.disk_usage(there)
    return DiskFact(free_bytes=usage.free, total_bytes=usage.total)


def _all_below(folder: Path) -> Iterator[Path]:
    yield folder
    yield from sorted(folder.rglob("*"))
