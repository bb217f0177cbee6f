"""One server's part in a cluster: its routes to the others, the password they share, and free ports for trying."""

from __future__ import annotations

import json
import random
import secrets
from pathlib import Path
from typing import Final

from msgspec import Struct

from mesh.broker.port_owner import port_is_taken
from mesh.config.address import Address
from mesh.errors import BrokerFailed, CredentialsError
from mesh.secret_file import read_secret, write_secret_once
from mesh.tls.contexts import TlsFiles

ROUTE_PORT_DISTANCE: Final = 2000
"""Routes of a server that listens at 4222 are at 6222, as nats-server's own defaults are."""

_SECRET_FILE: Final = "cluster.secret"  # noqa: S105 - the name of the file, not a secret
_SECRET_BYTES: Final = 24
_USER: Final = "route"
# Below the ports that Linux hands out for outgoing connections: what is free now is not taken by chance a moment later.
_FREE_PORTS: Final = range(20_000, 32_000)
_TRIES: Final = 200


class ClusterMember(Struct, frozen=True, kw_only=True):
    """A server of a cluster."""

    listen: Address
    """Where the other servers reach it."""
    routes: tuple[Address, ...]
    """Where all servers of the cluster are, this one among them or not."""
    name: str = "ig3"
    """The cluster's name, the same on all its servers."""
    tls: Path | None = None
    """Folder with ``ca.pem``, ``server.pem`` and ``server-key.pem``, by which the servers know each other; None: routes
    are not encrypted, which suits one machine."""

    @property
    def tls_files(self) -> TlsFiles | None:
        """The files in that folder."""
        if self.tls is None:
            return None
        return TlsFiles(
            cert=self.tls / "server.pem",
            key=self.tls / "server-key.pem",
            ca=self.tls / "ca.pem",
        )


def cluster_secret(data_dir: Path) -> str:
    """Return the password that the servers of a cluster show each other; made once per data folder.

    Raises:
        CredentialsError: if it cannot be read or written, or others can read it.
    """
    path = data_dir / "credentials" / _SECRET_FILE
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_secret_once(path, f"{secrets.token_hex(_SECRET_BYTES)}\n".encode())
    except OSError as error:
        raise CredentialsError(f"cannot write {path}: {error.strerror}") from error
    text = read_secret(path).decode("ascii", "replace").strip()
    if not (text.isascii() and text.isalnum()):
        raise CredentialsError(f"{path} is damaged: copy it again from another server of the cluster")
    return text


def cluster_variables(member: ClusterMember, secret: str) -> dict[str, str]:
    """Return what nats-cluster.conf and nats-cluster-tls.conf read from the environment. They hold the secret.

    Raises:
        CredentialsError: if a certificate is missing.
    """
    routes = [f"nats-route://{_USER}:{secret}@{address}" for address in member.routes]
    values = {
        "CLUSTER": member.name,
        "ROUTE_LISTEN": str(member.listen),
        "ROUTE_PASSWORD": secret,
        "ROUTES": routes,
        **({} if member.tls_files is None else _certificates(member.tls_files)),
    }
    return {f"IG3_BROKER_{name}": json.dumps(value, ensure_ascii=False) for name, value in values.items()}


def _certificates(files: TlsFiles) -> dict[str, str]:
    for path in files.given:
        if not path.is_file():
            raise CredentialsError(f"{path} does not exist: deploy/cluster/make-certificates makes it")
    named = {"ROUTE_CA": files.ca, "ROUTE_CERT": files.cert, "ROUTE_KEY": files.key}
    return {variable: str(path.absolute()) for variable, path in named.items() if path is not None}


def free_ports(host: str, count: int) -> tuple[int, ...]:
    """Find ports that nobody listens on and that no outgoing connection gets by chance.

    Raises:
        BrokerFailed: if there are none.
    """
    found: set[int] = set()
    for _ in range(_TRIES):
        port = random.choice(_FREE_PORTS)  # noqa: S311 - any port will do, it guards nothing
        if not port_is_taken(Address(host, port)):
            found.add(port)
        if len(found) == count:
            return tuple(sorted(found))
    raise BrokerFailed(f"no {count} free ports were found on {host}: give them by --nats HOST:PORT,HOST:PORT,HOST:PORT")
