"""The settings of an installation, all sections of them, as the doctor looks at them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from mesh.config.settings import MeshSettings
from mesh.config.sources import Sources
from mesh.identity.device_settings import DeviceSettings
from mesh.sites.settings import SiteSettings
from mesh.tls.contexts import TlsFiles


class Installation(Struct, frozen=True, kw_only=True):
    """Every section of the settings, as this process would run with them."""

    mesh: MeshSettings
    site: SiteSettings
    devices: DeviceSettings
    sections: Mapping[str, Struct]
    sources: Sources

    @property
    def gateway(self) -> GatewayView:
        """What is looked at of the gateway's settings: ``mesh`` knows no more of them."""
        return msgspec.convert(self.sections["gateway"], GatewayView, from_attributes=True)


class GatewayView(Struct, frozen=True, kw_only=True):
    """How the gateway serves."""

    http: str
    auth: str
    http_hosts: tuple[str, ...]
    tls: TlsFiles | None
