"""Who a device is on a link to another device, as both are told by the registry."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class LinkIdentity(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who a node is on the links of a group: its certificate, and the signature of its DID's own key over it."""

    node: Annotated[str, Meta(min_length=1, max_length=64)]
    did: Annotated[str, Meta(max_length=512)]
    certificate: Annotated[bytes, Meta(max_length=4096)]
    """In DER."""
    algorithm: Annotated[str, Meta(max_length=32)]
    signature: Annotated[bytes, Meta(max_length=128)]
    public_key: Annotated[bytes, Meta(max_length=128)] | None = None
    """Given where the DID holds only the hash of the key."""
