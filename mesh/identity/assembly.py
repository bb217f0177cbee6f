"""The gatekeeper as the settings want it."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from mesh.config.address import DIALLED_AS_THIS_MACHINE, parse_address
from mesh.errors import SettingsError
from mesh.identity.credential import check_credential, check_issuers
from mesh.identity.gatekeeper import AdmissionPolicy, Gatekeeper
from mesh.identity.own_devices import own_device_dids
from mesh.identity.peaq.resolver import did_resolver
from mesh.sites.admission import SiteLinks

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable
    from pathlib import Path

    from mesh.config.address import Address
    from mesh.config.settings import MeshSettings
    from mesh.identity.device_log import DeviceLog
    from mesh.identity.device_settings import DeviceSettings
    from mesh.identity.did import Did
    from mesh.identity.peaq.readings import ReadingStore
    from mesh.identity.people import BusPeople
    from mesh.identity.service import MakeGatekeeper
    from mesh.identity.settings import IdentitySettings


@asynccontextmanager
async def gatekeeper_maker(
    mesh: MeshSettings, devices: DeviceSettings, identity: IdentitySettings
) -> AsyncGenerator[MakeGatekeeper]:
    """Open what the gatekeeper needs, and close it afterwards.

    Raises:
        IdentityError: if an issuer cannot issue credentials.
    """
    issuers = check_issuers(devices.credential_issuers)

    def credential_of(text: str, did: Did) -> str:
        return check_credential(text, did, issuers=issuers, now_s=time.time())

    async with did_resolver(identity) as resolver:

        def gatekeeper(log: DeviceLog, people: BusPeople, readings: ReadingStore) -> Gatekeeper:
            resolver.share(readings)
            return make(log, people=people)

        make = partial(
            Gatekeeper,
            resolver=resolver,
            policy=AdmissionPolicy(
                rule=devices.admission, lasts=devices.device_session, most_waiting=devices.waiting_devices
            ),
            is_own_address=OwnAddresses((*(url.partition("://")[2] for url in mesh.nats_urls), *devices.audiences)),
            is_own_device=partial(_is_own_device, mesh.data_dir),
            credential_of=credential_of,
            links=SiteLinks(mesh.data_dir),
        )
        yield gatekeeper


class OwnAddresses:
    """Where a mesh is reached, as devices dial it. All names of loopback are one."""

    def __init__(self, addresses: Iterable[str]) -> None:
        """Take ``host:port`` texts."""
        self._own = frozenset(_in_one_way(parse_address(text)) for text in addresses)

    def __call__(self, dialled: str) -> bool:
        """Whether ``host:port``, which a stranger names, is one of them."""
        try:
            return _in_one_way(parse_address(dialled)) in self._own
        except SettingsError:
            return False


def _in_one_way(address: Address) -> Address:
    host = address.host.lower().rstrip(".")
    return address._replace(host="127.0.0.1" if host in DIALLED_AS_THIS_MACHINE else host)


def _is_own_device(data_dir: Path, did: str) -> bool:
    # Read anew: a node on this machine may have made its key a moment ago.
    return did in own_device_dids(data_dir)
