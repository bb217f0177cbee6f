"""What nats.conf gets besides itself where a broker is the hub of edge sites, or one of the sites.

Compression stays off on both sides: it was the way into leafnodes that have been taken over from outside.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from mesh.broker.conf_text import conf_lines, fill, tls_block
from mesh.config.address import Address
from mesh.tls.contexts import TlsFiles
from streams.sites import MESH_SUBJECTS
from streams.topology import Account

_ACCOUNTS: Final[tuple[Account, ...]] = ("EDGE", "CORE")
_RECONNECT_S: Final = 1


class Hub(Struct, frozen=True, kw_only=True):
    """A broker to which the brokers of edge sites connect. Which of them may is for the identity service to say."""

    listen: Address
    tls: TlsFiles | None = None
    """It shows ``cert``, and sites trust ``ca``; with ``ca`` here too, sites show theirs."""


class Uplink(Struct, frozen=True, kw_only=True):
    """A broker of an edge site."""

    domain: str
    hubs: tuple[Address, ...]
    """Where the hub is; empty: the site works by itself for now."""
    seeds: Mapping[Account, str]
    """Who this site is on its link in each account."""
    tls: TlsFiles | None = None

    def __repr__(self) -> str:
        """Show no seed: values end up in logs."""
        return f"Uplink(domain={self.domain!r}, hubs={self.hubs!r})"


def with_hub(conf: str, hub: Hub) -> str:
    """Return nats.conf with a door for the sites' links."""
    block = [
        f"host: {json.dumps(hub.listen.host)}",
        # nats-server reads 0 as its default port, and -1 as any free one.
        f"port: {hub.listen.port or -1}",
        # Sites know the hub by the address that they were given, which may be a relay's or a tunnel's.
        "no_advertise: true",
        *_link_options(hub.tls, at_hub=True),
    ]
    return f"{conf}\nleafnodes {{\n{conf_lines(block)}}}\n"


def with_uplink(conf: str, uplink: Uplink) -> str:
    """Return nats.conf with a JetStream domain and a link to the hub in each account."""
    conf = fill(conf, "domain", [f"domain: {json.dumps(uplink.domain)}"])
    if not uplink.hubs:
        return conf
    scheme = "nats-leaf" if uplink.tls is None else "tls"
    urls = json.dumps([f"{scheme}://{address}" for address in uplink.hubs])
    denied = json.dumps(MESH_SUBJECTS)
    remotes = [
        f"{{ urls: {urls}, account: {account}, nkey: $IG3_BROKER_{_seed_variable(account)}\n"
        f"    deny_imports: {denied}\n    deny_exports: {denied}\n    "
        + ", ".join(["ignore_discovered_servers: true", *_link_options(uplink.tls, at_hub=False)])
        + " }"
        for account in _ACCOUNTS
    ]
    inside = conf_lines([f"reconnect: {_RECONNECT_S}", f"remotes: [\n{conf_lines(remotes)}  ]"])
    return f"{conf}\nleafnodes {{\n{inside}}}\n"


def uplink_variables(uplink: Uplink | None) -> dict[str, str]:
    """Return what the configuration of a site reads from the environment and nobody else may."""
    if uplink is None:
        return {}
    return {f"IG3_BROKER_{_seed_variable(account)}": json.dumps(seed) for account, seed in uplink.seeds.items()}


def _seed_variable(account: Account) -> str:
    return f"LINK_SEED_{account}"


def _link_options(tls: TlsFiles | None, *, at_hub: bool) -> list[str]:
    return ["compression: off", *([tls_block(tls, asks=at_hub and tls.ca is not None)] if tls is not None else [])]
