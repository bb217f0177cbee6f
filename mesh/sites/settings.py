"""How a broker of our own is linked to others: as the hub of edge sites, or as one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from mesh.config.address import Address, addresses, parse_address
from mesh.tls.contexts import TlsFiles


class SiteSettings(Struct, frozen=True, kw_only=True):
    """The link between a hub and its edge sites; none of it is used unless asked for."""

    leaf: Annotated[
        str,
        Meta(
            description="Where this site's hub listens for sites; none: this mesh stands by itself.",
            examples=["HOST:PORT"],
        ),
    ] = ""
    leaf_listen: Annotated[
        str,
        Meta(description="Where a hub listens for its sites; none: it has no such door.", examples=["HOST:PORT"]),
    ] = ""
    leaf_cert: Annotated[
        Path | None,
        Meta(description="Certificate that is shown on links between hub and sites.", examples=["FILE"]),
    ] = None
    leaf_key: Annotated[Path | None, Meta(description="Private key of that certificate.", examples=["FILE"])] = None
    leaf_ca: Annotated[
        Path | None,
        Meta(
            description="Whose certificates are trusted: at a site those of hubs, at a hub those of sites.",
            examples=["FILE"],
        ),
    ] = None

    def __post_init__(self) -> None:
        """Check what a type cannot say."""
        addresses(self.leaf)
        if self.leaf_listen and not parse_address(self.leaf_listen).port:
            raise ValueError("leaf_listen needs a port of its own: sites must find it again")
        if self.leaf and self.leaf_listen:
            raise ValueError("a site cannot be a hub as well: give leaf or leaf_listen")
        if (self.leaf_cert is None) != (self.leaf_key is None):
            raise ValueError("leaf_cert and leaf_key are needed together")
        if self.leaf_listen and self.leaf_ca is not None and self.leaf_cert is None:
            raise ValueError("a hub that asks for certificates (leaf_ca) shows one itself: give leaf_cert and leaf_key")

    @property
    def hubs(self) -> tuple[Address, ...]:
        """Where the hub is."""
        return addresses(self.leaf)

    @property
    def listen(self) -> Address | None:
        """Where sites connect; None if they cannot."""
        return parse_address(self.leaf_listen) if self.leaf_listen else None

    @property
    def tls(self) -> TlsFiles | None:
        """The certificates; None: links are not encrypted."""
        files = (self.leaf_cert, self.leaf_key, self.leaf_ca)
        return TlsFiles(cert=self.leaf_cert, key=self.leaf_key, ca=self.leaf_ca) if any(files) else None
