"""Settings of the ledger."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class LedgerSettings(Struct, frozen=True, kw_only=True):
    """How one ledger works."""

    ledger_window: Annotated[
        int, Meta(ge=1, le=10_000, description="Ends of tasks that this ledger takes at once, to write them together.")
    ] = 4000
