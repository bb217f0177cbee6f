"""A hub that runs takes in sites as they are added and drops those that are removed, without a restart."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from mesh.broker.monitoring import leaf_links, links_of
from mesh.bus.broker_reload import ServerControl
from mesh.bus.provision import provision
from mesh.errors import BusError, CredentialsError, SiteError
from mesh.sites.admission import link_name
from mesh.sites.plan import LINKED_ACCOUNTS, copies_of
from mesh.sites.records import site_records

if TYPE_CHECKING:
    from mesh.broker.server import EmbeddedServer
    from mesh.bus.service_bus import Bus
    from mesh.config.settings import MeshSettings
    from mesh.sites.records import SiteRecord
    from mesh.sites.settings import SiteSettings
    from mesh.tls.contexts import ClientTls

log = logging.getLogger(__name__)

_LOOK_S: Final = 0.5
_LOOKS_S: Final = (0.0, 0.3, 1.0, 3.0)
"""A link that was being let in at the moment of the removal stands in no list yet."""
_LINKS_PER_SITE: Final = len(LINKED_ACCOUNTS)
_LOOKS: Final = 30
_LOOKS_AT_START: Final = 120
"""How often it is looked for sites that are on their way: one that is not there is asked again only 40 s later."""


async def follow_sites(mesh: MeshSettings, site: SiteSettings, server: EmbeddedServer, bus: Bus) -> None:
    """Look at the sites' records for ever; the streams of copies follow them, and links of removed sites are cut.

    Who may link is for the identity service to say, which looks at the same records.
    """
    if site.listen is None:
        return
    # Those of the start may have changed since: the first look takes what it finds.
    known: tuple[SiteRecord, ...] | None = None
    async with asyncio.TaskGroup() as cutting:
        while True:
            try:
                found = site_records(mesh.data_dir)
                if found != known:
                    for gone in set(known or ()) - set(found):
                        cutting.create_task(_cut(server, mesh.nats_tls, gone))
                    looks = _LOOKS_AT_START if known is None else _LOOKS
                    await _await_links(server, _LINKS_PER_SITE * len(found), looks)
                    await provision(bus.links, [spec for record in found for spec in copies_of(mesh, record)], ())
                    log.info("edge sites: %s", ", ".join(record.site for record in found) or "none")
                    known = found
            except (SiteError, CredentialsError, BusError, OSError) as error:
                log.warning("the edge sites cannot be taken as they are now, trying again: %s", error)
            await asyncio.sleep(_LOOK_S)


async def _cut(server: EmbeddedServer, tls: ClientTls, gone: SiteRecord) -> None:
    """Cut the links of a site that is no longer welcome, now and in the next seconds."""
    names = [link_name(gone.site, account) for account in LINKED_ACCOUNTS]
    for pause_s in _LOOKS_S:
        await asyncio.sleep(pause_s)
        try:
            numbers = [number for name in names for number in await links_of(server.monitor, name)]
            if numbers:
                async with ServerControl(server, tls) as control:
                    for number in numbers:
                        await control.cut(number)
        except (BusError, OSError) as error:
            log.warning("links of the site %s cannot be cut now, trying again: %s", gone.site, error)


async def _await_links(server: EmbeddedServer, count: int, looks: int) -> None:
    for _ in range(looks):
        if len(await leaf_links(server.monitor)) >= count:
            return
        await asyncio.sleep(_LOOK_S / 5)
