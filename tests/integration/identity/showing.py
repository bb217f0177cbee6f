"""Clients that show the broker whatever a test wants.

They wait for a decision as long as this machine takes for it: what nobody has decided in time is no refusal.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from mesh.broker.server import EmbeddedServer
from mesh.bus.dialing import LinkOptions
from mesh.bus.link import Link
from mesh.errors import BusRefused
from mesh.identity.device_login import DeviceLogin
from streams import subjects
from streams.tokens import Token
from tests.identity_in_process import device_login
from tests.processes import PATIENCE_S

NODE = Token("n1")
PATIENT = timedelta(seconds=45)


@dataclass(kw_only=True)
class Shown:
    """An honest login, changed on its way."""

    login: DeviceLogin = field(default_factory=lambda: device_login(NODE))
    token_as: Callable[[str], str] = lambda token: token
    signature_as: Callable[[bytes], bytes] = lambda signature: signature
    nonce_as: Callable[[str], str] = lambda nonce: nonce
    lasts: timedelta = timedelta(minutes=15)

    def token(self, audience: str) -> str:
        """Show the token."""
        return self.token_as(self.login.token(audience))

    def sign(self, audience: str, nonce: str) -> bytes:
        """Show the signature."""
        return self.signature_as(self.login.sign(audience, self.nonce_as(nonce)))


def options_of(server: EmbeddedServer, shown: Shown | DeviceLogin, node: Token = NODE) -> LinkOptions:
    """Connect with what is shown."""
    return LinkOptions(
        servers=(server.url,),
        name=subjects.node_connection(node),
        inbox_prefix=subjects.node_inbox_prefix(node),
        login=shown,
        connect_timeout=PATIENT,
    )


async def gets_in_soon(server: EmbeddedServer, shown: Shown | DeviceLogin, node: Token = NODE) -> None:
    """Wait until the broker lets it in: who decides reads what was decided a moment after that is stored."""
    async with asyncio.timeout(PATIENCE_S):
        while not await gets_in(server, shown, node):  # noqa: ASYNC110 - it asks anew each time
            await asyncio.sleep(0.02)


async def gets_in(server: EmbeddedServer, shown: Shown | DeviceLogin, node: Token = NODE) -> bool:
    """Whether the broker lets it in; it leaves again at once."""
    try:
        link = await Link.connect(options_of(server, shown, node))
    except BusRefused:
        return False
    await link.close()
    return True
