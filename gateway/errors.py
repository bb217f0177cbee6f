"""What the serving side can refuse, as one small hierarchy."""

from __future__ import annotations

from mesh.errors import MeshError


class GatewayError(MeshError):
    """Root of every error raised by ``gateway``."""


class LedgerError(GatewayError):
    """The books do not take what an operator wants to write, or cannot show what is asked."""


class PayoutError(GatewayError):
    """A payout cannot be prepared, or it is not known what became of it; it is tried again."""


class RewardError(GatewayError):
    """Rewards cannot be computed or granted: an epoch is not over, or there are no rules."""
