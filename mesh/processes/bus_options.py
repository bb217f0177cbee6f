"""How a process of this mesh comes to the bus: where it is, and with which credentials of the data folder."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mesh.broker.credentials import Credentials
from mesh.bus.service_bus import BusOptions

if TYPE_CHECKING:
    from mesh.config.settings import MeshSettings


def bus_options(mesh: MeshSettings, name: str) -> BusOptions:
    """Return the options of a connection as services have it, in both accounts.

    Raises:
        CredentialsError: if the credentials are not in the data folder.
    """
    edge, core = Credentials.load_some(mesh.data_dir, "edge-service", "core-service")
    return BusOptions(
        servers=mesh.nats_urls,
        tls=mesh.nats_tls,
        name=name,
        edge_seed=edge.seed_path,
        core_seed=core.seed_path,
        results_streams=mesh.results_streams,
    )


def instance_name(service: str) -> str:
    """Return a name that hardly any other process of that service has, also on another machine."""
    return f"{service}-{os.getpid()}-{os.urandom(2).hex()}"
