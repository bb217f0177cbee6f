"""``x-ratelimit-…``: how it stands with the limits of whoever asks, on every answer, as OpenAI writes it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping

    from gateway.limits.meter import Meter

_SECOND_MS: Final = 1000
_MINUTE_S: Final = 60
_KINDS: Final[tuple[Literal["requests", "tokens"], ...]] = ("requests", "tokens")

RATE_HEADERS: Final = tuple(f"x-ratelimit-{what}-{kind}" for kind in _KINDS for what in ("limit", "remaining", "reset"))


def add_rate_headers(headers: MutableMapping[str, str], meters: Iterable[Meter]) -> None:
    """Write how it stands with each limit per minute: where key and account have one, that which is nearer."""
    for kind in _KINDS:
        standings = [standing for meter in meters if (standing := meter.standing(kind)) is not None]
        if standings:
            nearest = min(standings, key=lambda standing: standing.remaining)
            headers[f"x-ratelimit-limit-{kind}"] = str(nearest.limit)
            headers[f"x-ratelimit-remaining-{kind}"] = str(nearest.remaining)
            headers[f"x-ratelimit-reset-{kind}"] = format_reset(nearest.reset_ms)


def format_reset(reset_ms: int) -> str:
    """Write in how long a limit is whole again: ``120ms``, ``1s``, ``6m0s``."""
    if 0 < reset_ms < _SECOND_MS:
        return f"{reset_ms}ms"
    minutes, seconds = divmod(math.ceil(reset_ms / _SECOND_MS), _MINUTE_S)
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
