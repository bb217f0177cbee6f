"""Resolving a name once for a connection: what was looked at is what is connected to, no second answer counts."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from aiohttp.abc import AbstractResolver, ResolveResult

from gateway.fetching.addresses import NotPublic, address_in

if TYPE_CHECKING:
    from gateway.fetching.addresses import Address

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Looks up a name for a port; returns all of its addresses.

Raises:
    OSError: if there is no such name.
"""


async def resolve_by_system(host: str, port: int) -> list[str]:
    """Ask the system, as any program does."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


class PinnedResolver(AbstractResolver):
    """Hands aiohttp the addresses that it connects to, all of them allowed, or none."""

    def __init__(self, resolve: Resolve, is_allowed: Callable[[Address], bool]) -> None:
        """Look names up by ``resolve``; let through what ``is_allowed`` says."""
        self._resolve = resolve
        self._is_allowed = is_allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Look a name up.

        Raises:
            NotPublic: if one of its addresses may not be connected to; those beside it are no better.
            OSError: if there is no such name.
        """
        del family
        found = [address_in(text) for text in await self._resolve(host, port)]
        addresses = [address for address in found if address is not None]
        if not found or len(addresses) < len(found) or not all(map(self._is_allowed, addresses)):
            raise NotPublic("its host has an address that is not public")
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""
