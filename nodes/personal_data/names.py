"""Addresses and identifiers: e-mail, IP, wallets, DIDs. Patterns are bounded: no text makes them slow."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final

from stdnum import bitcoin

from mesh.errors import InvalidEncoding
from mesh.identity import ss58
from nodes.personal_data.found import Found

if TYPE_CHECKING:
    from collections.abc import Iterator

_EMAIL: Final = re.compile(
    r"(?<![\w+%])(?<![\w+%][.'-])[\w+%][\w.+%'-]{0,255}+@(?:[\w-]{1,63}\.){1,8}[^\W0-9_]{2}[\w-]{0,61}(?![\w-])"
)
_IPV4: Final = re.compile(r"(?<![\w.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?!\w|\.[0-9])")
_IPV6: Final = re.compile(r"(?<![\w:.])[0-9A-Fa-f:][0-9A-Fa-f:.]{2,44}(?!\w)")
_DID: Final = re.compile(r"(?<![\w:])did:[a-z0-9]{1,32}:[\w.:%-]{1,256}")
_ETHEREUM: Final = re.compile(r"(?<!\w)0x[0-9A-Fa-f]{40}(?!\w)")
_BASE58: Final = re.compile(r"(?<!\w)(?:[1-9A-HJ-NP-Za-km-z]{26,50}|bc1[a-z0-9]{11,71})(?!\w)")
_SS58_CHARS: Final = 46
"""An address of 32 bytes has as many at least."""
_FEWEST_COLONS: Final = 2


def find_emails(text: str) -> Iterator[Found]:
    """What has the form of one, letters of all alphabets included (RFC 6531); quoted local parts are not known."""
    if "@" in text:
        for match in _EMAIL.finditer(text):
            yield Found(match.start(), match.end(), "EMAIL")


def find_ips(text: str) -> Iterator[Found]:
    """Addresses of hosts, but for loopback, which every machine has."""
    for match in _IPV6.finditer(text):
        part = match[0].rstrip(".")
        part = part if part.endswith("::") else part.rstrip(":")
        has_digit = any(char.isdigit() for char in part)
        if part.count(":") >= _FEWEST_COLONS and has_digit and _is_host(part, IPv6Address):
            yield Found(match.start(), match.start() + len(part), "IP")
    for match in _IPV4.finditer(text):
        if _is_host(match[0], IPv4Address):
            yield Found(match.start(), match.end(), "IP")


def find_dids(text: str) -> Iterator[Found]:
    """Decentralised identifiers of any method (W3C DID core)."""
    for match in _DID.finditer(text):
        yield Found(match.start(), match.start() + len(match[0].rstrip(".:")), "DID")


def find_wallets(text: str) -> Iterator[Found]:
    """Addresses of Ethereum, of Bitcoin by their check, of Substrate's chains by theirs."""
    for match in _ETHEREUM.finditer(text):
        yield Found(match.start(), match.end(), "WALLET")
    for match in _BASE58.finditer(text):
        if bitcoin.is_valid(match[0]) or (len(match[0]) >= _SS58_CHARS and _is_ss58(match[0])):
            yield Found(match.start(), match.end(), "WALLET")


def _is_host(part: str, kind: type[IPv4Address | IPv6Address]) -> bool:
    try:
        address = kind(part)
    except AddressValueError:
        return False
    return not (address.is_loopback or address.is_unspecified)


def _is_ss58(part: str) -> bool:
    try:
        ss58.decode(part)
    except InvalidEncoding:
        return False
    return True
