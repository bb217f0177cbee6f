"""Which limits an account has, as the operator has set them."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from streams.access.fold import LOCAL
from streams.access.limits import NO_BOUNDS, NO_LIMITS, Bounds, Limits


class LimitRules(Struct, frozen=True, kw_only=True):
    """Limits of all accounts, and what single ones have instead; None in it: as much as there is."""

    usual: Limits = NO_LIMITS
    requests_of: Mapping[str, int | None] = {}
    tokens_of: Mapping[str, int | None] = {}
    streams_of: Mapping[str, int | None] = {}

    def of_account(self, account: str) -> Limits:
        """The limits of one account. That of whoever runs the mesh has only those that name it."""
        usual = NO_LIMITS if account == LOCAL else self.usual
        return replace(
            usual,
            requests_per_minute=self.requests_of.get(account, usual.requests_per_minute),
            tokens_per_minute=self.tokens_of.get(account, usual.tokens_per_minute),
            concurrent_streams=self.streams_of.get(account, usual.concurrent_streams),
        )


class BoundRules(Struct, frozen=True, kw_only=True):
    """Bounds of every account's answers, and what single ones have instead; None in it: none."""

    usual: Bounds = NO_BOUNDS
    tokens_of: Mapping[str, int | None] = {}
    seconds_of: Mapping[str, int | None] = {}

    def of_account(self, account: str) -> Bounds:
        """The bounds of one account. That of whoever runs the mesh has only those that name it."""
        usual = NO_BOUNDS if account == LOCAL else self.usual
        return Bounds(
            most_output_tokens=self.tokens_of.get(account, usual.most_output_tokens),
            most_seconds=self.seconds_of.get(account, usual.most_seconds),
        )
