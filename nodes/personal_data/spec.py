"""What a node keeps from the providers that it asks. Imports nothing that only a node of the cloud needs."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from streams.tasks.placing import Redaction

RECOGNISERS: Final = ("phonenumbers", "stdnum")
"""Packages that know numbers, beside the patterns of this one."""

_STRENGTH: Final[dict[Redaction, int]] = {"off": 0, "standard": 1, "strict": 2}


class RedactionSpec(Struct, frozen=True, kw_only=True):
    """What a node keeps from providers."""

    level: Redaction = "standard"
    countries: tuple[str, ...] = ("US", "GB", "DE")
    """Whose telephone numbers are known without a country code; ISO 3166."""
    may_weaken: bool = True
    """Whether a request may ask for less than ``level``; for more it always may."""

    def level_for(self, wish: Redaction | None) -> Redaction:
        """What holds for a request that asks for ``wish``."""
        if wish is None or (not self.may_weaken and _STRENGTH[wish] < _STRENGTH[self.level]):
            return self.level
        return wish
