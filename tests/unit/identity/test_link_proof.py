"""A device's key signs for the certificate of its links: for that node's alone, and not a byte of it may change."""

import pytest
from msgspec.structs import replace

from mesh.identity.did import did_key
from mesh.identity.keys import Algorithm, SigningKey
from mesh.identity.link_proof import is_bound, sign_link

CERTIFICATE = b"certificate"


@pytest.mark.parametrize("algorithm", ["ed25519", "sr25519", "secp256k1"])
def test_the_holder_of_the_did_signs_for_its_certificate(algorithm: Algorithm) -> None:
    key = SigningKey.generate(algorithm)
    identity = sign_link(did_key(key.public), key, "node-a", CERTIFICATE)
    assert is_bound(identity)
    stranger = did_key(SigningKey.generate(algorithm).public).text
    for forged in (
        replace(identity, node="node-b"),
        replace(identity, certificate_base64="AAAA"),
        replace(identity, certificate_base64="no base64"),
        replace(identity, did=stranger),
        replace(identity, did="nonsense"),
        replace(identity, algorithm="none"),
        replace(identity, signature_base64=identity.signature_base64[:-4]),
        replace(identity, signature_base64="no base64"),
    ):
        assert not is_bound(forged)
