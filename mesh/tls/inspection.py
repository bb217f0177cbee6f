"""What a certificate says, found by having OpenSSL show it to itself: nothing is sent anywhere."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

from msgspec import Struct

from mesh.errors import TlsError
from mesh.tls.contexts import TlsFiles, server_context

if TYPE_CHECKING:
    from pathlib import Path

_NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL: one that has ended can still be read."""
_STEPS: Final = 10


class Certificate(Struct, frozen=True, kw_only=True):
    """A certificate that fits its key."""

    not_before: datetime
    not_after: datetime
    names: tuple[str, ...]


def inspect_pair(files: TlsFiles) -> Certificate:
    """Read what a certificate says, and whether its key is its own.

    Raises:
        TlsError: if they cannot be used.
    """
    if files.cert is None:
        raise TlsError("there is no certificate to look at")
    # Nobody shows a certificate here but the server.
    server = server_context(TlsFiles(cert=files.cert, key=files.key))
    try:
        shown = _show(server, _that_trusts(files.cert))
    except ssl.SSLError as error:
        raise TlsError(f"the certificate {files.cert} cannot be used by a server: {error.reason}") from error
    return Certificate(
        not_before=_time(shown["notBefore"]),
        not_after=_time(shown["notAfter"]),
        names=tuple(name for _, name in cast("tuple[tuple[str, str], ...]", shown.get("subjectAltName", ()))),
    )


def _that_trusts(certificate: Path) -> ssl.SSLContext:
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    # Whoever made it is not asked here, only what it says.
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    client.load_verify_locations(certificate)
    return client


def _show(server: ssl.SSLContext, client: ssl.SSLContext) -> dict[str, Any]:
    """Shake hands in memory and return the certificate that the client got."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(_STEPS):
        done = [_step(side) for side in sides]
        if all(done):
            break
    return sides[0].getpeercert() or {}


def _step(side: ssl.SSLObject) -> bool:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _time(text: str) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC)
