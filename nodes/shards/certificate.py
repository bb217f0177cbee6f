"""The certificate that a node shows on the links of shard groups: made at its start, kept in memory alone.

It signs itself, and no authority is asked: the other side is told byte by byte whom to expect, by the registry, and the
device's own key has signed for those bytes (``mesh.identity.link_proof``). So all that X.509 has to carry is a key.
"""

from __future__ import annotations

import hashlib
import os
import ssl
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from nacl.signing import SigningKey

from nodes.errors import ShardLinkRefused

_SEQUENCE: Final = 0x30
_SET: Final = 0x31
_INTEGER: Final = 0x02
_BIT_STRING: Final = 0x03
_UTF8: Final = 0x0C
_TIME: Final = 0x18
_EXPLICIT_0: Final = 0xA0
_LONG_FORM: Final = 0x80
"""From this length on the length has a length."""

_ED25519: Final = bytes.fromhex("300506032b6570")
"""AlgorithmIdentifier of RFC 8410."""
_COMMON_NAME: Final = bytes.fromhex("0603550403")
_PKCS8: Final = bytes.fromhex("302e020100300506032b657004220420")
"""What stands before the 32 bytes of a secret key (RFC 8410, section 7)."""
_SINCE: Final = b"20200101000000Z"
_UNTIL: Final = b"99991231235959Z"
"""It holds as long as the process and its groups: no clock has a say in it."""
_LONGEST: Final = 4096
_SERIAL_BYTES: Final = 8


class LinkCertificate(NamedTuple):
    """A certificate in DER and the key of it, in PKCS 8."""

    der: bytes
    secret: bytes

    def __repr__(self) -> str:
        """Name the certificate alone: values end up in logs."""
        return f"LinkCertificate({hashlib.sha256(self.der).hexdigest()})"


def make_certificate(name: str) -> LinkCertificate:
    """Make a key and a certificate of it that says ``name``."""
    key = SigningKey.generate()
    who = _der(_SEQUENCE, _der(_SET, _der(_SEQUENCE, _COMMON_NAME + _der(_UTF8, name.encode()))))
    public = _der(_SEQUENCE, _ED25519 + _der(_BIT_STRING, b"\0" + bytes(key.verify_key)))
    valid = _der(_SEQUENCE, _der(_TIME, _SINCE) + _der(_TIME, _UNTIL))
    # The first bit makes a number negative, and a leading zero would be left out: so it begins with a one.
    serial = _der(_INTEGER, b"\x01" + os.urandom(_SERIAL_BYTES))
    version = _der(_EXPLICIT_0, _der(_INTEGER, b"\x02"))
    body = _der(_SEQUENCE, version + serial + _ED25519 + who + valid + who + public)
    signature = key.sign(body).signature
    der = _der(_SEQUENCE, body + _ED25519 + _der(_BIT_STRING, b"\0" + signature))
    return LinkCertificate(der, _PKCS8 + bytes(key))


def member_context(own: LinkCertificate, leader: bytes) -> ssl.SSLContext:
    """Make the context of a member, which lets in the holder of one certificate and nobody else.

    Raises:
        ShardLinkRefused: if ``leader`` is no certificate.
    """
    return _secured(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), own, leader)


def leader_context(own: LinkCertificate, member: bytes) -> ssl.SSLContext:
    """Make the context of a leader, which speaks to the holder of one certificate and nobody else.

    Raises:
        ShardLinkRefused: if ``member`` is no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Addresses change, and names prove nothing here: the certificate itself is compared.
    context.check_hostname = False
    return _secured(context, own, member)


def _secured(context: ssl.SSLContext, own: LinkCertificate, other: bytes) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    if len(other) > _LONGEST:
        raise ShardLinkRefused("the other side's certificate is too long")
    try:
        context.load_verify_locations(cadata=other)
    except (ssl.SSLError, ValueError) as error:
        raise ShardLinkRefused(f"the other side's certificate is none: {error}") from error
    # Python reads keys from files alone.
    with TemporaryDirectory(prefix="ig3-link-") as folder:
        path = Path(folder) / "link.pem"
        path.touch(mode=0o600)
        path.write_text(_pem("PRIVATE KEY", own.secret) + _pem("CERTIFICATE", own.der), encoding="ascii")
        context.load_cert_chain(path)
    return context


def _pem(what: str, der: bytes) -> str:
    return ssl.DER_cert_to_PEM_cert(der).replace("CERTIFICATE", what)


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < _LONG_FORM:
        return bytes((tag, size)) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes((tag, _LONG_FORM | len(octets))) + octets + content
