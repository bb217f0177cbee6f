"""A hub that runs takes in sites as they are added and drops those that are removed."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from mesh.broker.monitoring import leaf_links
from mesh.bus.provision import provision
from mesh.errors import BrokerError, BusError, CredentialsError, SiteError
from mesh.sites.plan import broker_options, copies_of
from mesh.sites.records import site_records

if TYPE_CHECKING:
    from mesh.broker.server import EmbeddedServer
    from mesh.bus.service_bus import Bus
    from mesh.config.settings import MeshSettings
    from mesh.sites.records import SiteRecord
    from mesh.sites.settings import SiteSettings

log = logging.getLogger(__name__)

_LOOK_S: Final = 0.5
_LINKS_PER_SITE: Final = 2
_LOOKS: Final = 30
"""How often it is looked for sites that are on their way: one that is not there is asked again only 40 s later."""


async def follow_sites(mesh: MeshSettings, site: SiteSettings, server: EmbeddedServer, bus: Bus) -> None:
    """Look at the sites' records for ever; the broker's users and the streams of copies follow them."""
    if site.listen is None:
        return
    # Those of the start may have changed since: the first look takes what it finds.
    known: tuple[SiteRecord, ...] | None = None
    while True:
        try:
            found = site_records(mesh.data_dir)
            if found != known:
                if server.reconfigure(broker_options(mesh, site)):
                    # nats-server 2.15 reads no other list of those anew whom it knows without asking (`auth_users`).
                    await server.start_again("it has other edge sites")
                await _await_links(server, _LINKS_PER_SITE * len(found))
                await provision(bus.links, [spec for record in found for spec in copies_of(mesh, record)], ())
                log.info("edge sites: %s", ", ".join(record.site for record in found) or "none")
                known = found
        except (SiteError, CredentialsError, BusError, BrokerError, OSError) as error:
            log.warning("the edge sites cannot be taken as they are now, trying again: %s", error)
        await asyncio.sleep(_LOOK_S)


async def _await_links(server: EmbeddedServer, count: int) -> None:
    for _ in range(_LOOKS):
        if len(await leaf_links(server.monitor)) >= count:
            return
        await asyncio.sleep(_LOOK_S / 5)
