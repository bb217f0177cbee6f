"""Clients that show the broker whatever a test wants."""

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

NODE = Token("n1")


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
    )


async def gets_in(server: EmbeddedServer, shown: Shown | DeviceLogin, node: Token = NODE) -> bool:
    """Whether the broker lets it in; it leaves again at once."""
    try:
        link = await Link.connect(options_of(server, shown, node))
    except BusRefused:
        return False
    await link.close()
    return True
