"""Who a device is on a link to another device, as both are told by the registry."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Annotated

from msgspec import Meta, Struct


class LinkIdentity(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who a node is on the links of a group: its certificate, and the signature of its DID's own key over it."""

    node: Annotated[str, Meta(max_length=64)]
    did: Annotated[str, Meta(max_length=512)]
    certificate_base64: Annotated[str, Meta(max_length=8192)]
    """In DER."""
    algorithm: Annotated[str, Meta(max_length=32)]
    signature_base64: Annotated[str, Meta(max_length=128)]
    public_key_base64: Annotated[str, Meta(max_length=128)] | None = None
    """Given where the DID holds only the hash of the key."""

    @property
    def certificate(self) -> bytes:
        """The certificate in DER; empty where it is no base64."""
        try:
            return base64.b64decode(self.certificate_base64, validate=True)
        except (binascii.Error, ValueError):
            return b""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, in hex: what events name it by."""
        return hashlib.sha256(self.certificate).hexdigest()
