"""How a provider stands: one that failed of late is asked last."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from nodes.errors import EngineAway, EngineError

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger(__name__)

_REST_S: Final = 30.0
"""How long a provider that failed is asked only where all others did too."""


class Standing:
    """Of one provider."""

    def __init__(self, model: str) -> None:
        self.away: str | None = None
        """Why it could not be asked at all, when it was asked last."""
        self.rests_until_s = 0.0
        self._model = model

    def answered(self) -> None:
        """Note that it can."""
        self.away = None
        self.rests_until_s = 0.0

    def failed(self, error: EngineError) -> None:
        """Let it rest."""
        self.away = str(error) if isinstance(error, EngineAway) else None
        self.rests_until_s = time.monotonic() + _REST_S
        log.warning("%s cannot answer: %s", self._model, error)


class Stands(Protocol):
    """Who has one."""

    @property
    def standing(self) -> Standing:
        """It."""
        ...


T = TypeVar("T", bound=Stands)


def in_turn(providers: Sequence[T]) -> list[T]:
    """In the file's order; those that failed of late come last, the longest ago of them first."""
    now_s = time.monotonic()
    return sorted(providers, key=lambda provider: max(0.0, provider.standing.rests_until_s - now_s))


def all_away(providers: Sequence[Stands]) -> str | None:
    """Why none of them can be asked; None where one can."""
    now_s = time.monotonic()
    reasons = [provider.standing.away for provider in providers if provider.standing.rests_until_s > now_s]
    return reasons[0] if len(reasons) == len(providers) and all(reasons) else None
