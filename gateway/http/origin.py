"""Who may talk to the gateway: a page of somebody else's in a browser must not, however it got our address.

Two doors, two locks. DNS rebinding (a foreign name that resolves to our address) shows in ``Host``: only names that are
ours are answered; an IP address as host cannot be rebound and is. A foreign page that asks our real address
shows in ``Origin`` or, where a browser sends none, in ``Sec-Fetch-Site``. Programs send neither and pass.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from gateway.http.errors import ApiError
from mesh.config.address import LOOPBACK_NAMES, parse_address

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.settings import GatewaySettings

_FOREIGN_SITES: Final = frozenset({"cross-site", "same-site"})
_REMEMBERED: Final = 64


class OriginPolicy:
    """The check as the settings want it; remembers what it has let pass, since that is asked for every request."""

    def __init__(self, settings: GatewaySettings) -> None:
        """Read what is ours from ``settings``."""
        own = parse_address(settings.http).host
        self._names = LOOPBACK_NAMES | {own.lower()} | {name.lower() for name in settings.http_hosts}
        self._origins = frozenset(origin.rstrip("/").lower() for origin in settings.http_origins)
        self._passed: set[str] = set()

    def check(self, request: web.BaseRequest) -> None:
        """Let a request pass or not.

        Raises:
            ApiError: 400 without a host, 421 for a foreign host, 403 for a foreign origin.
        """
        headers = request.headers
        host = headers.get("Host", "")
        if host not in self._passed:
            self._check_host(host)
        origin = headers.get("Origin")
        if origin is not None:
            self._check_origin(origin, host)
        elif headers.get("Sec-Fetch-Site") in _FOREIGN_SITES and headers.get("Sec-Fetch-Mode") != "navigate":
            raise _foreign_page()

    def cors_origin(self, request: web.BaseRequest) -> str | None:
        """The request's origin, if it is one that the settings let read answers."""
        origin = request.headers.get("Origin")
        return origin if origin is not None and origin.lower() in self._origins else None

    def _check_host(self, host: str) -> None:
        name = _host_name(host)
        if not name:
            raise ApiError(400, "The request names no host.", code="invalid_host")
        if name not in self._names and not _is_ip(name):
            message = f"{name[:100]!r} is not a name of this gateway. Who runs it can add names: --http-hosts."
            raise ApiError(421, message, code="foreign_host")
        if len(self._passed) < _REMEMBERED:
            self._passed.add(host)

    def _check_origin(self, origin: str, host: str) -> None:
        if origin.lower() in self._origins:
            return
        scheme, _, authority = origin.partition("://")
        if scheme not in {"http", "https"} or authority.lower() != host.lower():
            raise _foreign_page()


def _foreign_page() -> ApiError:
    message = "Pages of other sites may not use this gateway. Who runs it can add origins: --http-origins."
    return ApiError(403, message, code="foreign_origin")


def _host_name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").removesuffix(".")
    except ValueError:
        return ""


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
