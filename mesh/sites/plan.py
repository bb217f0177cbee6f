"""What a mesh runs with because of its sites, or because it is one: its broker, its streams and its consumers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from mesh.broker.leaf import Hub, Uplink
from mesh.errors import SettingsError, SiteError
from mesh.sites.records import joined, site_records
from streams.sites import domain_of, hub_streams

if TYPE_CHECKING:
    from mesh.broker.files import BrokerOptions
    from mesh.config.settings import MeshSettings
    from mesh.sites.records import Join, SiteRecord
    from mesh.sites.settings import SiteSettings
    from streams.topology import Account, StreamSpec

LINKED_ACCOUNTS: Final[tuple[Account, ...]] = ("EDGE", "CORE")
"""A site has a link in each."""


def streams_here(mesh: MeshSettings) -> tuple[StreamSpec, ...]:
    """Return the streams of a mesh, with those for its sites.

    Raises:
        SiteError: if a record is damaged.
    """
    return (*mesh.streams, *(spec for record in site_records(mesh.data_dir) for spec in copies_of(mesh, record)))


def copies_of(mesh: MeshSettings, record: SiteRecord) -> tuple[StreamSpec, ...]:
    """Return the streams that this mesh keeps for one site."""
    return hub_streams(
        record.site,
        results_streams=record.results_streams,
        retention=mesh.kept,
        replicas=mesh.copies,
    )


def broker_options(mesh: MeshSettings, site: SiteSettings) -> BrokerOptions:
    """Return how the broker of this mesh runs.

    Raises:
        SettingsError: if a link is asked for that this data folder has no credentials for.
        SiteError: if a record is damaged, or the site spreads its answers over another number of streams.
        CredentialsError: if others can read this site's credentials.
    """
    join = joined(mesh.data_dir)
    if join is not None and join.results_streams != mesh.results_streams:
        raise SiteError(
            f"the hub takes {join.results_streams} results_streams from the site {join.site}, this mesh has "
            f"{mesh.results_streams}: set results_streams = {join.results_streams}"
        )
    if site.leaf and join is None:
        raise SettingsError(
            f"{mesh.data_dir} is no site: make a join file with `ig3 sites add NAME` at the hub, carry it here, and "
            f"run `ig3 sites join FILE`"
        )
    if join is not None and site.listen is not None:
        raise SettingsError(f"{mesh.data_dir} is the site {join.site}: a site cannot be a hub as well")
    if join is not None:
        return _as_site(mesh, site, join)
    if site.listen is None:
        return mesh.broker
    return replace(mesh.broker, hub=Hub(listen=site.listen, tls=site.tls))


def _as_site(mesh: MeshSettings, site: SiteSettings, join: Join) -> BrokerOptions:
    return replace(
        mesh.broker,
        # Two sites whose brokers have the same name would push each other out of the hub.
        name=f"{mesh.server_name}-{join.site}",
        uplink=Uplink(
            domain=domain_of(join.site),
            hubs=site.hubs,
            seeds={"EDGE": join.edge_seed, "CORE": join.core_seed},
            tls=site.tls,
        ),
    )
