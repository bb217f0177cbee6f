"""Whoever fails again and again waits, longer each time: a pure rule, and a table of bounded size that applies it.

A host, or the name of a key, may fail a number of times freely, and one failure is forgiven after the other as time
passes. Beyond, each further failure doubles the wait. So in any span of T seconds at most ``most_failures`` attempts
fail; whatever else is tried is turned away before it costs anything.
"""

from __future__ import annotations

import ipaddress
import math
from typing import NamedTuple

_NETWORK_BITS = 64
"""What one customer of an access provider has at least; single addresses of IPv6 cost nobody anything."""


class Patience(NamedTuple):
    """How much is borne of one who fails."""

    free: int
    """Failures in a row that have no consequence."""
    forgiven_per_s: float
    first_s: float
    """The first wait; each further one is twice as long."""
    longest_s: float

    def most_failures(self, span_s: float) -> float:
        """How many attempts of one can fail in a span of time."""
        doublings = math.ceil(math.log2(self.longest_s / self.first_s))
        # Where less is forgiven than the longest wait lets by, that wait alone holds them.
        per_s = max(self.forgiven_per_s, 1 / self.longest_s)
        return self.free + doublings + 2 + span_s * per_s


class Record(NamedTuple):
    """What is known of one who has failed. Times are seconds of one clock."""

    failures: float
    at_s: float
    until_s: float
    """Until then every attempt is turned away."""


def after_failure(patience: Patience, record: Record | None, now_s: float) -> Record:
    """Count one more failure."""
    before = 0.0 if record is None else left(patience, record, now_s)
    failures = before + 1
    over = failures - patience.free
    if over <= 0:
        return Record(failures, now_s, now_s)
    # Capped before it is raised: no power of many failures overflows.
    doublings = min(over - 1, math.log2(patience.longest_s / patience.first_s))
    return Record(failures, now_s, now_s + patience.first_s * 2.0**doublings)


def left(patience: Patience, record: Record, now_s: float) -> float:
    """How many failures are not forgiven yet."""
    return max(0.0, record.failures - max(0.0, now_s - record.at_s) * patience.forgiven_per_s)


def origin_of(host: str) -> str:
    """Under which name an address is counted: IPv6 by its network."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 4:
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), _NETWORK_BITS), strict=False))


class Slowdown:
    """Remembers who has failed, the latest ones if there are too many."""

    def __init__(self, patience: Patience, *, most: int = 10_000) -> None:
        """Begin with nobody; keep ``most`` of them in mind."""
        self._patience = patience
        self._most = most
        self._records: dict[str, Record] = {}
        """Whoever failed last stands last."""

    def __len__(self) -> int:
        """How many are kept in mind."""
        return len(self._records)

    def wait_s(self, who: str, now_s: float) -> float:
        """How long somebody has to wait yet; 0: not at all."""
        record = self._records.get(who)
        return 0.0 if record is None else max(0.0, record.until_s - now_s)

    def failed(self, who: str, now_s: float) -> float:
        """Note that somebody has failed; returns how long they have to wait now."""
        record = after_failure(self._patience, self._records.pop(who, None), now_s)
        self._records[who] = record
        self._forget(now_s)
        return max(0.0, record.until_s - now_s)

    def _forget(self, now_s: float) -> None:
        oldest = next(iter(self._records))
        record = self._records[oldest]
        is_forgiven = now_s >= record.until_s and left(self._patience, record, now_s) == 0
        if is_forgiven or len(self._records) > self._most:
            del self._records[oldest]
