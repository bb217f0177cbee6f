"""Whose address a request comes from, where proxies stand before the gateway.

``X-Forwarded-For`` is whatever a client writes into it, until a proxy that we trust appends the address that it saw.
So it is read from its end, for as long as the next hop is a trusted proxy.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

FORWARDED_FOR: Final = "X-Forwarded-For"
_MOST_HOPS: Final = 16


def parse_network(text: str) -> Network:
    """Read an address or a network, like ``10.0.0.0/8``.

    Raises:
        ValueError: if it is neither.
    """
    try:
        return ipaddress.ip_network(text.strip())
    except ValueError as error:
        raise ValueError(f"{text!r} is no address and no network like 10.0.0.0/8: {error}") from error


def client_address(peer: str, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """Return who asks: the nearest hop that is no trusted proxy.

    Args:
        peer: who has connected to us.
        forwarded: the values of all ``X-Forwarded-For`` headers, in their order.
        trusted: the proxies that are believed.
    """
    if not trusted or not forwarded or not is_trusted(peer, trusted):
        return peer
    hops = [hop.strip() for value in forwarded for hop in value.split(",")]
    client = peer
    for hop in reversed(hops[-_MOST_HOPS:]):
        address = _parse(hop)
        if address is None:
            # What a trusted proxy has not written itself means nothing.
            return client
        client = str(address)
        if not is_trusted(client, trusted):
            return client
    return client


def is_trusted(text: str, trusted: Sequence[Network]) -> bool:
    """Whether an address is that of a trusted proxy."""
    address = _parse(text)
    return address is not None and any(address in network for network in trusted)


def _parse(text: str) -> _Address | None:
    host, colon, port = text.rpartition(":")
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif colon and port.isdecimal() and ":" not in host:
        text = host
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
