"""What nats-server says of itself on its monitoring port, which is plain HTTP on loopback."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import quote

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from mesh.config.address import Address

T = TypeVar("T", bound=Struct)

_TIMEOUT: Final = timedelta(seconds=5)
_WRITE_ERROR: Final = "write error"
"""How 2.15 names a stream whose disk failed it: it answers no publish from then on, until it is started again."""


class _Fault(Struct):
    error: str = ""


class _Health(Struct):
    errors: tuple[_Fault, ...] = ()


class _Account(Struct):
    name: str
    storage: int = 0


class _JetStream(Struct):
    account_details: tuple[_Account, ...] = ()


async def write_fault(monitor: Address) -> str | None:
    """Return why the server can no longer write to one of its streams, or None if it can.

    Raises:
        OSError: if the server does not answer.
    """
    health = await _get(monitor, "/healthz?details=true", _Health)
    return next((fault.error for fault in health.errors if _WRITE_ERROR in fault.error), None)


async def stored_bytes(monitor: Address) -> dict[str, int]:
    """Return how much each account has stored on the disk.

    Raises:
        OSError: if the server does not answer.
    """
    answer = await _get(monitor, "/jsz?accounts=true", _JetStream)
    return {account.name: account.storage for account in answer.account_details}


class _Server(Struct):
    server_id: str


async def server_id(monitor: Address) -> str:
    """Return under which id the server takes orders in the system account.

    Raises:
        OSError: if the server does not answer.
    """
    return (await _get(monitor, "/varz", _Server)).server_id


class _Leaf(Struct):
    id: int


class _Leafs(Struct):
    leafs: tuple[_Leaf, ...] = ()


async def leaf_links(monitor: Address) -> tuple[int, ...]:
    """Return which links of edge sites the server holds now, by its own numbers.

    Raises:
        OSError: if the server does not answer.
    """
    return tuple(leaf.id for leaf in (await _get(monitor, "/leafz", _Leafs)).leafs)


class _Connection(Struct):
    cid: int
    authorized_user: str = ""


class _Connections(Struct):
    connections: tuple[_Connection, ...] = ()


async def links_of(monitor: Address, name: str) -> tuple[int, ...]:
    """Return which links the identity service has let in under a name, by the server's own numbers.

    Raises:
        OSError: if the server does not answer.
    """
    found = await _get(monitor, f"/connz?auth=1&user={quote(name)}", _Connections)
    return tuple(each.cid for each in found.connections if each.authorized_user == name)


async def _get(monitor: Address, path: str, kind: type[T]) -> T:
    try:
        async with asyncio.timeout(_TIMEOUT.total_seconds()):
            reader, writer = await asyncio.open_connection(monitor.host, monitor.port)
            try:
                # Version 1.0: the answer comes in one piece and ends with the connection.
                writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
                answer = await reader.read()
            finally:
                writer.close()
        return msgspec.json.decode(answer.partition(b"\r\n\r\n")[2], type=kind)
    except (TimeoutError, msgspec.DecodeError) as error:
        raise OSError(f"the monitoring of nats-server gives no answer to {path}: {error}") from error
