"""Which brokers ``ig3 up`` runs, and where: one, or several servers that are a cluster, for trying."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from mesh.broker.cluster import ROUTE_PORT_DISTANCE, free_ports
from mesh.broker.files import STORE_FOLDER, half_of_disk
from mesh.broker.port_owner import port_is_taken
from mesh.config.address import MAX_PORT, Address, parse_address
from mesh.errors import SettingsError, StoreMismatch

if TYPE_CHECKING:
    from mesh.config.settings import MeshSettings

_FOLDER: Final = "server-"


class Brokers(Struct, frozen=True, kw_only=True):
    """The broker processes of one mesh, as variables of theirs and of everybody."""

    each: Mapping[str, Mapping[str, str]]
    """By the name of the process: what it alone gets."""
    for_all: Mapping[str, str] = {}
    """What every process of the mesh gets: all servers, where there are several."""
    pinned: str = ""
    """The variable that keeps the address which a single server announced."""


def plan_brokers(mesh: MeshSettings, servers: int) -> Brokers:
    """Decide what to run; ports that were left open are found here, since each server must know those of the others.

    Raises:
        StoreMismatch: if the data folder holds the streams of another number of servers.
        SettingsError: if ``nats`` names another number of servers.
        BrokerFailed: if no free ports are found.
    """
    _check_store(mesh, servers)
    if servers == 1:
        return Brokers(each={"broker": {}}, pinned="IG3_NATS")
    clients = _client_addresses(mesh, servers)
    routes = _route_addresses(clients)
    mesh.data_dir.mkdir(parents=True, exist_ok=True)
    limit = mesh.store_limit or half_of_disk(mesh.data_dir) // servers
    together = {"IG3_ROUTES": ",".join(map(str, routes)), "IG3_STORE_LIMIT": str(limit)}
    each = {
        f"broker-{number}": {
            **together,
            "IG3_NATS": str(client),
            "IG3_SERVER_NAME": f"ig3-{number}",
            "IG3_SERVER_DIR": str(mesh.data_dir / f"{_FOLDER}{number}"),
            "IG3_ROUTE_LISTEN": str(route),
            # One address can be given for one server only.
            "IG3_MONITOR": "127.0.0.1:0",
        }
        for number, (client, route) in enumerate(zip(clients, routes, strict=True), start=1)
    }
    return Brokers(each=each, for_all={"IG3_NATS": ",".join(map(str, clients))})


def _check_store(mesh: MeshSettings, servers: int) -> None:
    """Refuse to begin with empty streams beside full ones: nobody would find the answers of yesterday."""
    stores = len(list(mesh.data_dir.glob(f"{_FOLDER}*/{STORE_FOLDER}")))
    if servers > 1 and (mesh.data_dir / STORE_FOLDER).is_dir():
        held, remedy = "one server", "start without --cluster"
    elif stores not in {0, servers if servers > 1 else 0}:
        held, remedy = f"a cluster of {stores}", f"start with --cluster {stores}"
    else:
        return
    raise StoreMismatch(
        f"{mesh.data_dir} holds the streams of {held}: {remedy}, or choose another folder with --data-dir"
    )


def _client_addresses(mesh: MeshSettings, servers: int) -> tuple[Address, ...]:
    given = tuple(parse_address(url.partition("://")[2]) for url in mesh.nats_urls)
    if len(given) == 1:
        host, port = given[0]
        ports = tuple(range(port, port + servers)) if port else free_ports(host, servers)
        given = tuple(Address(host, each) for each in ports)
    if len(given) != servers:
        raise SettingsError(f"{len(given)} addresses are given for {servers} servers: give one, or one for each")
    return given


def _route_addresses(clients: tuple[Address, ...]) -> tuple[Address, ...]:
    moved = tuple(client._replace(port=client.port + ROUTE_PORT_DISTANCE) for client in clients)
    if all(route.port <= MAX_PORT for route in moved) and not any(map(port_is_taken, moved)):
        return moved
    host = clients[0].host
    return tuple(Address(host, port) for port in free_ports(host, len(clients)))
