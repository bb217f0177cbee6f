"""Who a node is: a name that stays the same over restarts, and that can stand in a subject."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
from typing import TYPE_CHECKING, Final

from nodes.errors import NodeError
from streams.errors import InvalidToken
from streams.subjects import MESH
from streams.tokens import token

if TYPE_CHECKING:
    from pathlib import Path

    from streams.tokens import Token

FILE_NAME: Final = "node-id"
_HOST_CHARS: Final = 40


class UnusableNodeId(NodeError):
    """A node's id cannot stand in a subject, or cannot be kept."""


def node_id(given: str | None, data_dir: Path, *, instance: int = 1) -> Token:
    """Return the id that was given, or the one kept in ``data_dir``, made at the first start.

    ``instance`` tells nodes apart that share a data folder.

    Raises:
        UnusableNodeId: if it is no subject token, is reserved, or the file cannot be read or written.
    """
    if given is not None:
        return _checked(given, "give another one by --id")
    path = data_dir / (FILE_NAME if instance == 1 else f"{FILE_NAME}-{instance}")
    try:
        _create(path)
        return _checked(path.read_text(encoding="utf-8").strip(), f"delete {path} to get a new one")
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableNodeId(f"cannot keep this node's id in {path}: {error}") from error


def fresh_node_id() -> Token:
    """Make an id that a person recognises (the host's name) and that no other node has."""
    host = re.sub(r"[^A-Za-z0-9-]+", "-", socket.gethostname().partition(".")[0]).strip("-")
    return token(f"{host[:_HOST_CHARS] or 'node'}-{secrets.token_hex(4)}")


def _create(path: Path) -> None:
    """Write a fresh id, whole and only once, even if two nodes start at the same time."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}.new")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(f"{fresh_node_id()}\n")
        file.flush()
        # After a power cut there is this id or none, never an empty file.
        os.fsync(file.fileno())
    with contextlib.suppress(FileExistsError):
        os.link(fresh, path)
    fresh.unlink()


def _checked(text: str, remedy: str) -> Token:
    try:
        checked = token(text)
    except InvalidToken as error:
        raise UnusableNodeId(f"{error}; {remedy}") from error
    if checked == MESH:
        raise UnusableNodeId(f"{MESH!r} is the name of the services, no node may have it; {remedy}")
    return checked
