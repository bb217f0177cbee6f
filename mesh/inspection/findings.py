"""What a verification of the log has found: what was compared, and each difference by name."""

from __future__ import annotations

from msgspec import Struct


class Difference(Struct, frozen=True, kw_only=True):
    """One thing that is not what the log says it should be."""

    projection: str
    where: str
    """Which task, service, stream or snapshot."""
    detail: str


class Comparison(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One projection, made anew from the log and compared with what somebody else has made of it."""

    projection: str
    compared_with: str
    events: int
    """How many events were folded for it."""
    compared: int
    """How many states were compared."""
    different: int
    took_s: float
    note: str = ""


class Report(Struct, frozen=True, kw_only=True):
    """All of it. ``refused_writes`` are stored events that count for nobody: they are no fault of the log."""

    comparisons: tuple[Comparison, ...]
    differences: tuple[Difference, ...]
    refused_writes: int
    noise: int
    """Stored bytes that are no events at all, as an acknowledgement that was led onto a task's subjects."""

    @property
    def is_equal(self) -> bool:
        """Whether everything is what the log says."""
        return not self.differences
