"""nats.conf as text: the places where something is added to it, and the blocks that are added."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from mesh.errors import BrokerFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mesh.tls.contexts import TlsFiles

_HANDSHAKE_S: Final = 5
_TLS_FIRST_MS: Final = 500
"""How long the broker waits for a client to begin with TLS, before it says in plain text that TLS is needed. Ours
begin with it at once; a fallback is for clients that cannot, and to such a server they send nothing in plain either."""


def with_client_tls(conf: str, tls: TlsFiles) -> str:
    """Return nats.conf with TLS for all clients; with ``ca`` they show certificates of their own."""
    block = tls_block(tls, asks=tls.ca is not None, more=(f'handshake_first: "{_TLS_FIRST_MS}ms"',))
    return f"{conf}\n{block}\n"


def tls_block(tls: TlsFiles, *, asks: bool, more: Sequence[str] = ()) -> str:
    """Write the block ``tls { }`` of one kind of connection; ``asks``: whether the other side shows a certificate."""
    files = {"cert_file": tls.cert, "key_file": tls.key, "ca_file": tls.ca}
    parts = [f"{name}: {json.dumps(str(path.absolute()))}" for name, path in files.items() if path is not None]
    if asks:
        parts.append("verify: true")
    return f"tls {{ {', '.join([*parts, f'timeout: {_HANDSHAKE_S}', *more])} }}"


def fill(conf: str, mark: str, lines: Sequence[str]) -> str:
    """Add lines at the one line ``#@ mark`` of nats.conf.

    Raises:
        BrokerFailed: if there is no such line.
    """
    line = f"#@ {mark}\n"
    if conf.count(line) != 1:
        raise BrokerFailed(f"nats.conf has no line {line.strip()!r}: this installation is damaged, install again")
    return conf.replace(line, f"{line}{conf_lines(lines)}")


def conf_lines(lines: Sequence[str]) -> str:
    """Indent lines as the inside of a block."""
    return "".join(f"  {line}\n" for line in lines)
