"""From files in PEM to TLS as Python speaks it: 1.2 or newer, and each side checked where it shows itself."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from msgspec import Struct

from mesh.errors import TlsError

if TYPE_CHECKING:
    from collections.abc import Callable


class TlsFiles(Struct, frozen=True, kw_only=True):
    """Files in PEM of one side. ``cert`` and ``key`` are what it shows, ``ca`` is whom it trusts."""

    cert: Path | None = None
    key: Path | None = None
    ca: Path | None = None

    @property
    def given(self) -> tuple[Path, ...]:
        """Those that there are."""
        return tuple(path for path in (self.cert, self.key, self.ca) if path is not None)


class ClientTls(Struct, frozen=True, kw_only=True):
    """How a client of the bus makes sure of the broker."""

    files: TlsFiles = TlsFiles()
    """Without ``ca`` the authorities of the operating system are trusted."""
    name: str | None = None
    """The name that the broker's certificate must show; None: the host that was dialled."""


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """Make the context of a client, which trusts nobody unproven.

    Raises:
        TlsError: if a file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=files.ca)
    except OSError as error:
        raise TlsError(f"the certificate authority {files.ca} cannot be used: {_reason(error)}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_pair(context, files)
    return context


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """Make the context of a server that shows a certificate; with ``ca``, whoever connects must show one of that.

    Raises:
        TlsError: if a file cannot be used, or the key is not that of the certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_pair(context, files)
    if files.ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(files.ca)
        except OSError as error:
            raise TlsError(f"the certificate authority {files.ca} cannot be used: {_reason(error)}") from error
    return context


def renew(context: ssl.SSLContext, files: TlsFiles) -> None:
    """Have a server's context show what the files hold now; connections that are open go on with what they have.

    An authority that comes on top is trusted as well; one that is gone stays trusted until the process starts again.

    Raises:
        TlsError: if they cannot be used. Then the context shows what it has shown so far.
    """
    # A pair that does not fit would be half taken over.
    server_context(files)
    _load_pair(context, files)
    if files.ca is not None:
        context.load_verify_locations(files.ca)


def _load_pair(context: ssl.SSLContext, files: TlsFiles) -> None:
    if files.cert is None:
        return
    try:
        context.load_cert_chain(files.cert, files.key, password=_refuse_passphrase(files.key))
    except OSError as error:
        raise TlsError(
            f"the certificate {files.cert} with the key {files.key} cannot be used: {_reason(error)}"
        ) from error


def _refuse_passphrase(key: Path | None) -> Callable[[], str]:
    """OpenSSL would ask on the terminal, where nobody sits."""

    def refuse() -> NoReturn:
        raise TlsError(f"the key {key} is sealed by a passphrase: servers need one that is not")

    return refuse


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return {
            "KEY_VALUES_MISMATCH": "the key is not that of the certificate",
            "NO_START_LINE": "it is not PEM",
            "PEM_LIB": "it is not PEM",
        }.get(error.reason or "", error.reason or str(error))
    return error.strerror or str(error)
