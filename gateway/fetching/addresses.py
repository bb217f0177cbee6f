"""Which addresses are public: the only ones that anything is fetched from because a user has named it."""

from __future__ import annotations

import ipaddress
from typing import Final

from gateway.errors import GatewayError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_GLOBAL_V6: Final = ipaddress.IPv6Network("2000::/3")
"""All that IANA has given out for unicast."""
_NOT_GLOBAL: Final = tuple(
    map(
        ipaddress.ip_network,
        (
            # IPv4, beyond what the standard library knows: benchmarks, relays of 6to4, tests, and all that is reserved.
            *("192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "240.0.0.0/4"),
            # IPv6 that stands for IPv4 (6to4, Teredo), for protocols, for documents.
            *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
        ),
    )
)


class NotPublic(GatewayError):
    """A host has an address that is not public, and nothing is fetched from it."""


def is_public(address: Address) -> bool:
    """Whether an address is anybody's to reach: none of this machine, of a network here, of a provider's inside.

    IPv6 addresses that hold one of IPv4 are never public, whatever they hold: nobody needs them to be found.
    """
    if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_V6:
        return False
    if not address.is_global or address.is_multicast or address.is_reserved or address.is_unspecified:
        return False
    return not any(address.version == network.version and address in network for network in _NOT_GLOBAL)


def address_in(host: str) -> Address | None:
    """The address that a host is, or None if it is a name; odd spellings of addresses are names, to be resolved."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
