"""deploy/cluster, from its own files: three servers with TLS between them, on three loopback addresses."""

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from mesh.broker.cluster import free_ports
from mesh.broker.files import find_binary
from tests.processes import PATIENCE_S, wait_until
from tests.running_mesh import IG3, ROOT, Place, Running

pytestmark = pytest.mark.timeout(240)

FOLDER = ROOT / "deploy" / "cluster"
OUTSIDE = "10.0.0."
LOOPBACK = "127.0.0."
SHELL = 'set -a; . "$1/nats.env"; . "$1/cluster.env"; exec "$2" -c "$3"'
SIZE = 3


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One of the three, as its settings file describes it."""

    place: Place
    settings: dict[str, str]

    @property
    def data_dir(self) -> Path:
        return Path(self.settings["IG3_DATA_DIR"])

    @property
    def nats(self) -> str:
        return self.settings["IG3_NATS"]


def settings_of(number: int, folder: Path, ports: dict[str, int]) -> dict[str, str]:
    """The settings file of a server, with addresses, ports and folders of a test."""
    text = (FOLDER / f"server-{number}.env").read_text().replace(OUTSIDE, LOOPBACK).replace("/var/lib/ig3", str(folder))
    for usual, free in ports.items():
        text = text.replace(f":{usual}", f":{free}")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def address_of(machine: Machine) -> str:
    return machine.nats.partition(":")[0]


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> list[Machine]:
    """Three folders, prepared as README.md of the folder says."""
    folder = tmp_path_factory.mktemp("machines")
    client_port, route_port = free_ports("127.0.0.11", 2)
    ports = {"4222": client_port, "6222": route_port}
    made: list[Machine] = []
    for number in range(1, SIZE + 1):
        own = folder / str(number)
        made.append(Machine(place=Place(folder=own), settings=settings_of(number, own / "data", ports)))
    certificates = folder / "certificates"
    addresses = [address_of(machine) for machine in made]
    subprocess.run([FOLDER / "make-certificates", certificates, *addresses], check=True, stdout=subprocess.DEVNULL)
    first = made[0]
    for machine, address in zip(made, addresses, strict=True):
        machine.data_dir.mkdir(parents=True)
        shutil.copytree(certificates / address, machine.data_dir / "tls")
        if machine is not first:
            shutil.copytree(first.data_dir / "credentials", machine.data_dir / "credentials")
        machine.place.ok("broker", "--env-only", **machine.settings)
    return made


@pytest.fixture(scope="module")
def running(machines: list[Machine]) -> Iterator[Running]:
    """The first server by `ig3 broker`, which makes the streams; the others by a plain nats-server."""
    first, *others = machines
    with ExitStack() as stack:
        for machine in others:
            process = subprocess.Popen(
                ["/bin/sh", "-c", SHELL, "sh", str(machine.data_dir), str(find_binary()), str(FOLDER / "nats.conf")],
                stderr=subprocess.DEVNULL,
                env={},
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
        yield stack.enter_context(Running("broker", [str(IG3), "broker"], first.place, variables=first.settings))


def test_three_machines_become_one_cluster_with_all_streams(machines: list[Machine], running: Running) -> None:
    assert running.ready().url == f"nats://{machines[0].nats}"
    everywhere = {**machines[1].settings, "IG3_NATS": ",".join(machine.nats for machine in machines)}
    # The first to be ready need not be the last to agree.
    wait_until(lambda: machines[1].place.ig3("streams", "check", **everywhere).returncode == 0)


def test_a_route_shows_its_certificate_and_wants_one(machines: list[Machine], running: Running) -> None:
    for machine in machines:
        folder = machine.data_dir / "tls"
        without = ssl.create_default_context(cafile=folder / "ca.pem")
        with_one = ssl.create_default_context(cafile=folder / "ca.pem")
        with_one.load_cert_chain(folder / "server.pem", folder / "server-key.pem")
        host, _, port = machine.settings["IG3_ROUTE_LISTEN"].partition(":")
        wait_until(partial(is_greeted, host, int(port), with_one))
        with pytest.raises(ssl.SSLError):
            greeting(host, int(port), without)


def test_what_is_secret_is_readable_for_its_owner_only(machines: list[Machine]) -> None:
    for machine in machines:
        shown = (machine.data_dir / "nats.env").read_text() + (machine.data_dir / "nats.conf").read_text()
        secret = machine.data_dir / "credentials" / "cluster.secret"
        assert secret.read_text().strip() not in shown
        for path in (secret, machine.data_dir / "cluster.env", machine.data_dir / "tls" / "server-key.pem"):
            assert path.stat().st_mode & 0o077 == 0


def is_greeted(host: str, port: int, context: ssl.SSLContext) -> bool:
    """Whether a server takes a route; one that stands still for longer than a handshake may take hangs up."""
    try:
        return greeting(host, port, context).startswith(b"INFO ")
    except OSError:
        return False


def greeting(host: str, port: int, context: ssl.SSLContext) -> bytes:
    """What a server says to a route that connects."""
    with (
        socket.create_connection((host, port), timeout=PATIENCE_S) as plain,
        context.wrap_socket(plain, server_hostname=host) as route,
    ):
        return route.recv(4096)
