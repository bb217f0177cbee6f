"""What listens: as the settings say, and as it runs on the data folder now; and the certificates of these lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from mesh.config.address import Address, addresses, nats_urls, parse_address
from mesh.doctor.facts import CertificateFact, Listener
from mesh.doctor.gather_files import certificate
from mesh.doctor.gather_machine import is_running
from mesh.errors import SettingsError
from mesh.tls.contexts import TlsFiles

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mesh.config.settings import MeshSettings
    from mesh.doctor.installation import GatewayView, Installation

_RUN: Final = "run"
_LOCK: Final = "up.lock"
_ANY_HOST: Final = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared with, not listened on


def listeners(installation: Installation) -> tuple[Listener, ...]:
    """Everything that listens, or would."""
    running = tuple(_running(installation))
    known = {one.line for one in running}
    # A port that the settings leave open is known once it runs.
    asked = (one for one in _asked_for(installation) if one.address.port or one.line not in known)
    return tuple(dict.fromkeys((*asked, *running)))


def certificates(installation: Installation) -> Iterator[CertificateFact]:
    """Every certificate that the settings name."""
    mesh, site, gateway = installation.mesh, installation.site, installation.gateway
    broker = TlsFiles(cert=mesh.nats_tls_cert, key=mesh.nats_tls_key)
    route = None if mesh.cluster is None else mesh.cluster.tls_files
    for setting, files, hosts in (
        ("nats_tls_cert", broker, _nats_hosts(installation)),
        ("nats_client_cert", mesh.nats_tls.files, ()),
        ("http_tls_cert", gateway.tls or TlsFiles(), _http_hosts(gateway)),
        ("leaf_cert", site.tls or TlsFiles(), ()),
        ("route_tls", route or TlsFiles(), _named((parse_address(mesh.route_listen).host,))),
    ):
        found = certificate(setting, files, hosts)
        if found is not None:
            yield found


def _nats_hosts(installation: Installation) -> tuple[str, ...]:
    mesh = installation.mesh
    own = (mesh.nats_name,) if mesh.nats_name else [parse_address(u.partition("://")[2]).host for u in mesh.nats_urls]
    return _named((*own, *(parse_address(text).host for text in installation.devices.audiences)))


def _http_hosts(gateway: GatewayView) -> tuple[str, ...]:
    return _named(gateway.http_hosts or (parse_address(gateway.http).host,))


def _named(hosts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(host for host in hosts if host not in _ANY_HOST))


def _asked_for(installation: Installation) -> Iterator[Listener]:
    """What the settings say; a port that is left open is only known when it runs."""
    mesh, site, gateway = installation.mesh, installation.site, installation.gateway
    yield _gateway(parse_address(gateway.http), gateway)
    for url in nats_urls(mesh.nats):
        yield _nats(parse_address(url.partition("://")[2]), mesh)
    yield Listener(line="monitoring", address=parse_address(mesh.monitor), is_encrypted=False, asks_who=False)
    if addresses(mesh.routes):
        address = parse_address(mesh.route_listen)
        yield Listener(line="routes", address=address, is_encrypted=mesh.route_tls is not None, asks_who=True)
    if site.listen is not None:
        is_encrypted = site.tls is not None
        yield Listener(line="leafnodes", address=site.listen, is_encrypted=is_encrypted, asks_who=True)


def _gateway(address: Address, view: GatewayView) -> Listener:
    return Listener(
        line="gateway", address=address, is_encrypted=view.tls is not None, asks_who=view.auth == "required"
    )


def _nats(address: Address, mesh: MeshSettings) -> Listener:
    return Listener(line="nats", address=address, is_encrypted=mesh.nats_tls_cert is not None, asks_who=True)


class _Ports(Struct):
    nats: tuple[str, ...] = ()
    monitoring: tuple[str, ...] = ()


def _running(installation: Installation) -> Iterator[Listener]:
    """What runs on this data folder now, whatever these settings say: flags of another command made it so."""
    mesh = installation.mesh
    for folder in (mesh.server_dir or mesh.data_dir, *mesh.data_dir.glob("server-*")):
        for path in (folder / _RUN).glob("nats-server_*.ports"):
            yield from _of_server(path)
    yield from _of_gateway(mesh.data_dir / _LOCK, installation.gateway)


def _of_server(path: Path) -> Iterator[Listener]:
    pid = path.stem.rpartition("_")[2]
    try:
        ports = msgspec.json.decode(path.read_bytes(), type=_Ports)
        found = [("nats", url) for url in ports.nats] + [("monitoring", url) for url in ports.monitoring]
        places = [(line, url.partition("://")[0], parse_address(url.partition("://")[2])) for line, url in found]
    except (OSError, msgspec.DecodeError, SettingsError):
        return
    if not pid.isdigit() or not is_running(int(pid)):
        return
    for line, scheme, address in places:
        is_nats = line == "nats"
        yield Listener(
            line="nats" if is_nats else "monitoring",
            address=address,
            is_encrypted=scheme in {"tls", "https"},
            asks_who=is_nats,
        )


def _of_gateway(lock: Path, view: GatewayView) -> Iterator[Listener]:
    try:
        pid, _, told = lock.read_text().partition("\n")
    except OSError:
        return
    url = urlsplit(told.rpartition(", ")[2].strip())
    if not pid.isdigit() or not is_running(int(pid)) or url.hostname is None or url.port is None:
        return
    address = Address(url.hostname, url.port)
    yield Listener(
        line="gateway", address=address, is_encrypted=url.scheme == "https", asks_who=view.auth == "required"
    )
