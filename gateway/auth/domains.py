"""For which domains a wallet may sign in here: what a page elsewhere had signed must not open this gateway.

The name in ``Host`` alone proves nothing, since whoever passes a stolen message on chooses it, and every IP address is
answered. So a domain counts if it stands in the settings; or else if it is a name of this gateway with its own port.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.auth.refusal import FORBIDDEN, SignInRefused
from mesh.config.address import DIALLED_AS_THIS_MACHINE, parse_address

if TYPE_CHECKING:
    from gateway.settings import GatewaySettings


class SignInDomains:
    """The domains as the settings have them."""

    def __init__(self, settings: GatewaySettings) -> None:
        """Read them from ``settings``."""
        self._configured = tuple(domain.lower() for domain in settings.sign_in_domains)
        own = parse_address(settings.http).host.lower()
        is_any = _is_unspecified(own)
        self._own = DIALLED_AS_THIS_MACHINE if is_any else DIALLED_AS_THIS_MACHINE | {own}
        self._hosts = frozenset(name.lower() for name in settings.http_hosts)

    def is_ours(self, domain: str, *, port: int | None) -> bool:
        """Whether a message for a domain is for this gateway, which was reached at ``port``."""
        if self._configured:
            return domain.lower() in self._configured
        try:
            parts = urlsplit(f"//{domain}")
            name, named_port = parts.hostname or "", parts.port
        except ValueError:
            return False
        if parts.netloc != domain or "@" in domain or not domain.isascii():
            return False
        if name in self._hosts and named_port is None:
            # Behind a proxy, at the usual port of its scheme.
            return True
        return name in self._own | self._hosts and port is not None and (named_port or 80) == port

    def of_host(self, host: str, *, port: int | None) -> str:
        """Return the domain to sign in for, for somebody who has asked ``host``.

        Raises:
            SignInRefused: if there is none.
        """
        if self.is_ours(host, port=port):
            return host.lower()
        if self._configured:
            # A proxy may ask by a name of its own.
            return self._configured[0]
        raise self.refusal(host)

    def refusal(self, domain: str) -> SignInRefused:
        """What whoever comes with another domain is told."""
        message = f"{domain[:100]!r} is no domain to sign in for here. Who runs it can add domains: --sign-in-domains."
        return SignInRefused(message, code="foreign_domain", status=FORBIDDEN)


def _is_unspecified(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
