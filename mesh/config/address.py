"""Where something listens: ``HOST:PORT``, and the NATS URLs made of it."""

from __future__ import annotations

import ipaddress
from typing import Final, NamedTuple

from mesh.errors import SettingsError

MAX_PORT: Final = 65535

TLS_SCHEME: Final = "tls://"


class Address(NamedTuple):
    """A host (name or IP address, IPv6 without brackets) and a port; port 0 means: pick a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        """Write ``HOST:PORT``, an IPv6 host in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def nats_url(self) -> str:
        """The same as a URL for NATS clients."""
        return f"nats://{self}"

    @property
    def tls_url(self) -> str:
        """The same as a URL for NATS clients that trust no plain text."""
        return f"{TLS_SCHEME}{self}"

    @property
    def http_url(self) -> str:
        """The same as a URL for HTTP clients."""
        return f"http://{self}"

    @property
    def https_url(self) -> str:
        """The same as a URL for HTTP clients that trust no plain text."""
        return f"https://{self}"


LOOPBACK_NAMES: Final = frozenset({"localhost", "ip6-localhost"})
"""Names that every system gives to itself: nobody elsewhere can be meant by them."""

DIALLED_AS_THIS_MACHINE: Final = frozenset({"localhost", "127.0.0.1", "::1"})
"""How somebody writes a server on the own machine: three spellings of one place. Other addresses of loopback are places
of their own, where another program may listen, so what was signed for one of them is not for this."""


def is_loopback(host: str) -> bool:
    """Whether only this machine gets to a host: by its name, or any address of loopback."""
    name = host.lower().rstrip(".")
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name in LOOPBACK_NAMES


def parse_address(text: str, *, default_host: str = "127.0.0.1") -> Address:
    """Read ``HOST:PORT``, ``:PORT`` or ``[IPv6]:PORT``.

    Raises:
        SettingsError: if it is of another shape, or the port is not 0 to 65535.
    """
    host, colon, port = text.strip().rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    bare_ipv6 = ":" in host and not text.strip().startswith("[")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > MAX_PORT or bare_ipv6 or "/" in host:
        # What stands before an @ in an address was meant as a password.
        shown = text if "@" not in text else f"****@{text.rpartition('@')[2]}"
        raise SettingsError(f"{shown!r} is not an address: write HOST:PORT, for example 127.0.0.1:4222")
    return Address(host or default_host, int(port))


def nats_urls(text: str) -> tuple[str, ...]:
    """Read one or more servers, separated by commas, each ``HOST:PORT`` or a URL (``nats://`` or ``tls://``).

    Raises:
        SettingsError: if there is none, or one cannot be read.
    """
    urls = tuple(_nats_url(part.strip()) for part in text.split(",") if part.strip())
    if not urls:
        raise SettingsError("no NATS server is given: write HOST:PORT, for example 127.0.0.1:4222")
    return urls


def _nats_url(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    if not separator:
        return parse_address(text).nats_url
    if scheme not in {"nats", "tls"}:
        raise SettingsError(f"{text!r} is not a NATS URL: it begins with nats:// or tls://")
    return f"{scheme}://{parse_address(rest.rstrip('/'))}"


def addresses(text: str) -> tuple[Address, ...]:
    """Read any number of ``HOST:PORT``, separated by commas.

    Raises:
        SettingsError: if one cannot be read.
    """
    return tuple(parse_address(part) for part in text.split(",") if part.strip())


def listen_address(nats: str) -> Address:
    """Read the setting ``nats`` as the one address where a broker of our own listens.

    Raises:
        SettingsError: if several servers are given.
    """
    match nats_urls(nats):
        case (url,):
            return parse_address(url.partition("://")[2])
        case _:
            raise SettingsError(f"a broker listens on one HOST:PORT, not on {nats!r}")
