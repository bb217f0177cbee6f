"""Rules about lines: who may listen in, who is let in, and whether certificates do what they are for."""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal

from mesh.config.address import is_loopback
from mesh.doctor.finding import insecure, ok, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mesh.doctor.facts import CertificateFact, Facts, Line, Listener, UrlFact
    from mesh.doctor.finding import Finding

Reach = Literal["machine", "network", "world"]

EXPIRES_SOON: Final = timedelta(days=30)

_OTHERS: Final = 0o077
_ENCRYPT: Final[dict[Line, str]] = {
    "gateway": "give http_tls_cert and http_tls_key, or put a proxy with TLS before it and listen on loopback",
    "nats": "give nats_tls_cert and nats_tls_key, and nats_ca to the clients",
    "routes": "give route_tls (deploy/cluster/make-certificates)",
    "leafnodes": "give leaf_cert and leaf_key, and leaf_ca to the sites",
}
_PLAIN_SCHEMES: Final = frozenset({"http", "ws", "redis", "nats"})
_CARRIES_SECRETS: Final = frozenset({"redis", "nats"})


def reach_of(host: str) -> Reach:
    """Who gets to a host, as far as its address tells. A name may lead anywhere."""
    if is_loopback(host):
        return "machine"
    try:
        address = ipaddress.ip_address(host.lower().rstrip("."))
    except ValueError:
        return "world"
    if address.is_unspecified:
        return "world"
    return "network" if address.is_private or address.is_link_local else "world"


def judge_listeners(facts: Facts) -> Iterator[Finding]:
    """Everything that listens."""
    for listener in facts.listeners:
        yield from _judge_listener(listener)


def _judge_listener(listener: Listener) -> Iterator[Finding]:
    item, reach = f"{listener.line} at {listener.address}", reach_of(listener.address.host)
    if reach == "machine":
        yield ok(item, "this machine only")
        return
    if listener.line == "monitoring":
        yield insecure(item, "anybody who gets there reads who is connected: it has no login", "keep it on loopback")
        return
    if not listener.asks_who:
        yield insecure(item, "anybody who gets there may use the mesh", "set auth = required, or listen on loopback")
    if listener.is_encrypted:
        yield ok(item, "over TLS")
    elif reach == "network":
        text = "whoever is on that network can listen in, or pretend to be it"
        yield warning(item, text, _ENCRYPT[listener.line])
    else:
        yield insecure(item, "whoever is on the way reads prompts, answers and keys", _ENCRYPT[listener.line])


def judge_admission(facts: Facts) -> Iterator[Finding]:
    """Which devices are let in."""
    is_wide = any(one.line == "nats" and reach_of(one.address.host) != "machine" for one in facts.listeners)
    if facts.settings.admission == "open" and is_wide:
        yield warning(
            "admission",
            "every device that proves some DID gets prompts to answer",
            "set admission = listed or credential, unless strangers' devices are what this mesh is for",
        )
    else:
        yield ok("admission", facts.settings.admission)


def judge_chain(facts: Facts) -> Iterator[Finding]:
    """The nodes of the chain that say who somebody is."""
    asked = {url.host for url in facts.urls if url.setting == "peaq_endpoints"}
    if len(asked) == 1:
        yield warning(
            "peaq_endpoints",
            "while the one node of the chain is away, nobody new gets in",
            "name two or more, of different operators",
        )
    elif asked:
        yield ok("peaq_endpoints", f"{len(asked)} nodes of the chain, asked in turn")


def judge_certificates(facts: Facts) -> Iterator[Finding]:
    """Every certificate that the settings name."""
    for certificate in facts.certificates:
        troubles = list(_troubles(certificate, facts))
        yield from troubles
        if not troubles and certificate.not_after is not None:
            yield ok(_named(certificate), f"good until {certificate.not_after:%Y-%m-%d}")


def _named(certificate: CertificateFact) -> str:
    return f"{certificate.setting} ({certificate.path})"


def _troubles(certificate: CertificateFact, facts: Facts) -> Iterator[Finding]:
    item = _named(certificate)
    if certificate.problem:
        yield insecure(item, certificate.problem, "put a pair there that fits; until then this line does not come up")
        return
    if certificate.key_mode is not None and certificate.key_mode & _OTHERS:
        others = certificate.key_mode & 0o007
        text = f"its key is open to {'everybody' if others else 'the group'} (mode {certificate.key_mode:04o})"
        yield (insecure if others else warning)(item, text, "chmod 600, owned by who runs the mesh")
    yield from _times(certificate, facts)
    missing = [host for host in certificate.hosts if not covers(certificate.names, host)]
    if missing:
        text = f"it is for {', '.join(certificate.names) or 'nobody'}, and clients come by {', '.join(missing)}"
        yield warning(item, text, "have one made for these names too; clients refuse the line as it is")


def _times(certificate: CertificateFact, facts: Facts) -> Iterator[Finding]:
    item = _named(certificate)
    if certificate.not_before is not None and certificate.not_before > facts.now:
        text = f"it only begins at {certificate.not_before:%Y-%m-%d %H:%M} UTC"
        yield warning(item, text, "look at this machine's clock, or wait")
    if certificate.not_after is None:
        return
    if certificate.not_after <= facts.now:
        yield insecure(item, f"it ended at {certificate.not_after:%Y-%m-%d}", "renew it: clients refuse the line")
    elif certificate.not_after - facts.now < EXPIRES_SOON:
        days = (certificate.not_after - facts.now).days
        yield warning(item, f"it ends in {days} days", "renew it; a process that runs takes it up within a minute")


def covers(names: tuple[str, ...], host: str) -> bool:
    """Whether a certificate for ``names`` holds for a host; a star stands for one label, the first (RFC 6125)."""
    wanted = host.lower().rstrip(".")
    parent = wanted.partition(".")[2]
    return any(name.lower() == wanted or (parent and name.lower() == f"*.{parent}") for name in names)


def judge_urls(facts: Facts) -> Iterator[Finding]:
    """Services elsewhere that the settings name."""
    for url in facts.urls:
        yield _judge_url(url)


def _judge_url(url: UrlFact) -> Finding:
    item = f"{url.setting} ({url.scheme}://{url.host})"
    reach = reach_of(url.host)
    if url.scheme not in _PLAIN_SCHEMES or reach == "machine":
        return ok(item, "this machine only" if reach == "machine" else "over TLS")
    remedy = f"use {url.scheme}s://"
    if url.scheme in _CARRIES_SECRETS and reach == "world":
        return insecure(item, "whoever is on the way reads and changes what goes there", remedy)
    return warning(item, "whoever is on the way can listen in", remedy)
