"""Who listens on a port, for messages that help: read from ``/proc`` where there is one."""

from __future__ import annotations

import errno
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mesh.config.address import Address

_LISTEN: Final = "0A"
_LOCAL, _STATE, _INODE = 1, 3, 9


def port_is_taken(address: Address) -> bool:
    """Whether somebody listens there; port 0 is always free, and an address that cannot be had is not taken."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
            probe.listen(1)
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def describe_owner(port: int) -> str:
    """Say which process listens on a TCP port: ``nats-server (pid 42)``, or ``another process`` if unseen."""
    wanted = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for process in Path("/proc").glob("[0-9]*"):
        if wanted & _open_sockets(process):
            return f"{_name(process)} (pid {process.name})"
    return "another process"


def _listening_inodes(port: int) -> set[str]:
    inodes: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            columns = row.split()
            if columns[_STATE] == _LISTEN and int(columns[_LOCAL].rpartition(":")[2], 16) == port:
                inodes.add(columns[_INODE])
    return inodes


def _open_sockets(process: Path) -> set[str]:
    try:
        return {str(link.readlink()) for link in (process / "fd").iterdir()}
    except OSError:
        # Ended meanwhile, or another user's process.
        return set()


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "a process"
