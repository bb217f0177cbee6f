"""Settings of the ledger."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct


class LedgerSettings(Struct, frozen=True, kw_only=True):
    """How one ledger works."""

    ledger_window: Annotated[
        int, Meta(ge=1, le=10_000, description="Ends of tasks that this ledger takes at once, to write them together.")
    ] = 4000
    seal_months_after: Annotated[
        timedelta | None,
        Meta(description="How long after its end (UTC) this ledger seals a month of the books; off: by hand only."),
    ] = timedelta(days=3)
    books_archive: Annotated[
        Path | None,
        Meta(description="The folder to which this ledger writes each sealed month that is not there yet."),
    ] = None
    close_weeks_after: Annotated[
        timedelta | None,
        Meta(
            description="How long after its end this ledger closes a week of rewards, from the first with rules on; "
            "10 minutes at least; off: by hand only."
        ),
    ] = timedelta(hours=1)
