"""What an operator decides about the chain and about what is kept of it.

Nothing here imports keys or ciphers: every command reads all settings, and few commands need those.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

DEFAULT_ATTRIBUTE: Final = "did:peaq:{address}"
"""The name that peaq's own tools give to a document; on the chain it is free text."""

MAX_NAME_BYTES: Final = 64
"""The longest name that the chain takes."""


class ChainOptions(Struct, frozen=True, kw_only=True):
    """Which chain, and what is asked of an endpoint."""

    endpoints: tuple[str, ...]
    """Websocket URLs, in the order in which they are tried."""
    genesis: str
    """Hash of the chain's first block, ``0x`` and 64 hex digits: an endpoint of another chain is refused."""
    max_head_age_s: float
    """How old the last finalised block may be, by its own time."""
    timeout_s: float
    """How long one endpoint may take, to connect or to answer a question."""


class CacheOptions(Struct, frozen=True, kw_only=True):
    """How long a reading serves."""

    found_s: float = 300.0
    """One with an entry that holds."""
    missing_s: float = 30.0
    """One without; and no refusal rests on a reading older than this."""
    stale_s: float = 3600.0
    """One of a known DID, while the chain cannot be asked."""
    wait_s: float = 10.0
    """How long one who asks waits for the chain at most."""
