"""Stores of limits and gateways that are there: one that is slow because this machine is does not count as away."""

from datetime import timedelta
from functools import partial

import pytest

from gateway.limits import open_limiter
from gateway.limits.nats_store import NatsStore

LONG = timedelta(seconds=30)

patient_store = partial(NatsStore, longest=LONG)


def be_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have whoever opens a store from now on wait for it, and take no gateway for dead."""
    monkeypatch.setattr("gateway.limits.meter.HELD_MS", 20 * LONG // timedelta(milliseconds=1))
    monkeypatch.setattr("gateway.limits.limiter._STOP_S", LONG.total_seconds())
    monkeypatch.setattr("gateway.limits.store.PATIENCE", LONG)
    monkeypatch.setattr("gateway.limits.redis_store.PATIENCE", LONG)
    monkeypatch.setattr(open_limiter, "NatsStore", patient_store)
