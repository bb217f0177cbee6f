"""Who this node is on the links of shard groups: a fresh certificate, and its device's signature for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mesh.identity.link_proof import sign_link
from nodes.shards.certificate import LinkCertificate, make_certificate

if TYPE_CHECKING:
    from mesh.identity.did import Did
    from mesh.identity.keys import SigningKey
    from streams.devices.link_identity import LinkIdentity


class LinkSelf(NamedTuple):
    """The certificate with its key, and what others are told of it."""

    certificate: LinkCertificate
    identity: LinkIdentity


def link_self(node: str, did: Did, key: SigningKey) -> LinkSelf:
    """Make a certificate for this process, and sign for it with the device's key.

    Raises:
        InvalidKey: if the key is not that of the DID.
    """
    certificate = make_certificate(node)
    return LinkSelf(certificate, sign_link(did, key, node, certificate.der))
