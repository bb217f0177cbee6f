"""Files that hold a secret: written whole and once, and refused where others can read them."""

from __future__ import annotations

import os
import secrets
import stat
from typing import TYPE_CHECKING, Final

from mesh.errors import CredentialsError

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES: Final = 64 * 1024
"""More than any secret here has: what is longer is another file, given by mistake."""

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def write_secret_once(path: Path, content: bytes) -> bool:
    """Write a file for its owner alone. Of several writers at the same time the first wins; False: somebody else was.

    After a power cut there is all of it or nothing. The folder is made, for its owner alone, if it is not there.

    Raises:
        OSError: if it cannot be written.
    """
    if path.exists():
        return False
    fresh = _write_fresh(path, content)
    try:
        # A link fails where the name is taken, and never shows half a file.
        os.link(fresh, path)
    except FileExistsError:
        return False
    finally:
        fresh.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return True


def replace_secret(path: Path, content: bytes) -> None:
    """Write a file for its owner alone over one that may be there: whoever reads it sees the old one or the new one.

    Raises:
        OSError: if it cannot be written.
    """
    _write_fresh(path, content).replace(path)
    _sync_folder(path.parent)


def _write_fresh(path: Path, content: bytes) -> Path:
    make_private_folder(path.parent)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.new")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    return fresh


def make_private_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for their owner alone. One that is there stays as it is.

    Raises:
        OSError: if one cannot be made.
    """
    for one in (*reversed(folder.parents), folder):
        one.mkdir(mode=0o700, exist_ok=True)


def read_secret(path: Path, *, if_missing: str = "") -> bytes:
    """Read a file that only its owner can touch. ``if_missing`` says what to do where there is none.

    Raises:
        CredentialsError: if it is not there, others can touch it, it cannot be read, or it is longer than a secret.
    """
    try:
        with path.open("rb") as file:
            _refuse_shared(path, os.fstat(file.fileno()).st_mode, "chmod 600")
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _unreadable(path, error, if_missing) from error
    if len(content) > MAX_BYTES:
        raise CredentialsError(f"{path} is no secret of ours: it is longer than {MAX_BYTES} bytes")
    return content


def refuse_shared_folder(folder: Path, *, if_missing: str = "") -> None:
    """Check that only its owner can enter a folder of secrets.

    Raises:
        CredentialsError: if others can, or it is not there.
    """
    try:
        mode = folder.stat().st_mode
    except OSError as error:
        raise _unreadable(folder, error, if_missing) from error
    _refuse_shared(folder, mode, "chmod 700")


def _refuse_shared(path: Path, mode: int, remedy: str) -> None:
    if mode & _OTHERS:
        raise CredentialsError(f"{path} is open to other users (mode {stat.S_IMODE(mode):04o}): {remedy} {path}")


def _unreadable(path: Path, error: OSError, if_missing: str) -> CredentialsError:
    if isinstance(error, FileNotFoundError):
        return CredentialsError(f"{path} does not exist{f': {if_missing}' if if_missing else ''}")
    return CredentialsError(f"cannot read {path}: {error.strerror}")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
