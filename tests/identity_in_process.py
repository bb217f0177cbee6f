"""The identity service inside a test process, and devices whose keys follow from their names."""

import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Protocol

from mesh.access.session_keys import SessionKeys
from mesh.broker.credentials import Credentials
from mesh.broker.server import EmbeddedServer
from mesh.bus.dialing import LinkOptions
from mesh.bus.link import Link
from mesh.identity.callout import HOST_PATIENCE
from mesh.identity.credential import check_credential
from mesh.identity.device_log import DeviceLog
from mesh.identity.device_login import DeviceLogin
from mesh.identity.did import Did, did_key
from mesh.identity.gatekeeper import AdmissionPolicy, Gatekeeper
from mesh.identity.keys import SigningKey
from mesh.identity.peaq.readings import ReadingStore
from mesh.identity.peaq.resolver import DidResolver
from mesh.identity.peaq.rules import ResolverOptions
from mesh.identity.people import BusPeople
from mesh.identity.service import IdentityOptions, IdentityService
from mesh.identity.slowdown import Patience
from mesh.identity.traffic import Allowance
from mesh.sites.admission import SiteLinks
from streams import subjects
from streams.tokens import Token

OPEN = AdmissionPolicy(rule="open")
UNLIMITED = Allowance()
SOON = timedelta(milliseconds=100)
NO_CHAIN = DidResolver(ResolverOptions(attribute="did:peaq:{address}"))


def device_key(name: str) -> SigningKey:
    """The key of the test device of this name, the same in each run."""
    return SigningKey.from_secret("ed25519", hashlib.sha256(f"test device {name}".encode()).digest())


def device_did(name: str) -> Did:
    """The DID of the test device of this name."""
    return did_key(device_key(name).public)


def device_login(name: str, *, key: SigningKey | None = None, lasts: timedelta = timedelta(minutes=15)) -> DeviceLogin:
    """Log in as the test device of this name, or under its name with another key."""
    own = key or device_key(name)
    return DeviceLogin(did_key(own.public), own, Token(name), lasts=lasts)


def device_options(url: str, name: str, login: DeviceLogin | None = None) -> LinkOptions:
    """Connect as the test device of this name."""
    node = Token(name)
    return LinkOptions(
        servers=(url,),
        name=subjects.node_connection(node),
        inbox_prefix=subjects.node_inbox_prefix(node),
        login=login or device_login(name),
        # The broker, who decides and who asks may all stand still for a while: what is undecided is asked again.
        connect_timeout=timedelta(seconds=45),
    )


class Broker(Protocol):
    """One server, or one of a cluster."""

    @property
    def url(self) -> str:
        """Where to connect."""
        ...

    @property
    def credentials(self) -> Credentials:
        """Those of the mesh."""
        ...


@asynccontextmanager
async def identity_service(
    server: Broker,
    policy: AdmissionPolicy = OPEN,
    *,
    addresses: frozenset[str] | None = None,
    own: frozenset[str] = frozenset(),
    issuers: frozenset[str] = frozenset(),
    patience: Patience = HOST_PATIENCE,
    allowance: Allowance = UNLIMITED,
    resolver: DidResolver = NO_CHAIN,
) -> AsyncIterator[IdentityService]:
    """Run the service for a broker whose streams are there; ``addresses`` None takes devices wherever they dialled."""
    data_dir = server.credentials.user.seed_path.parents[1]

    def gatekeeper(devices: DeviceLog, people: BusPeople, readings: ReadingStore) -> Gatekeeper:
        resolver.share(readings)
        return Gatekeeper(
            devices,
            resolver,
            policy,
            people=people,
            is_own_address=lambda dialled: addresses is None or dialled in addresses,
            is_own_device=own.__contains__,
            links=SiteLinks(data_dir),
            credential_of=lambda text, did: check_credential(text, did, issuers=issuers, now_s=time.time()),
        )

    sessions = SessionKeys.load_or_create(data_dir)
    options = IdentityOptions(
        servers=(server.url,),
        credentials=server.credentials.for_identity,
        sessions=sessions,
        patience=patience,
        allowance=allowance,
        look_every=SOON,
    )
    async with IdentityService(options, gatekeeper) as service:
        yield service


async def connect_device(server: EmbeddedServer, name: str) -> Link:
    """Connect with the rights of the test device of this name."""
    return await Link.connect(device_options(server.url, name))
