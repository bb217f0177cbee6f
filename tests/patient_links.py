"""Connections to a broker that is there: one that takes a connection and then says nothing is slow, not away."""

import time
from datetime import timedelta

import pytest

from mesh.bus.dialing import LinkOptions
from mesh.bus.link import Link
from mesh.errors import BusUnavailable

LONG = timedelta(seconds=30)
TIMES = 6
"""How often as long as usual a broker is waited for: half a minute where nothing else is said."""
_SLOW = ("timeouterror", "no answer within", "authentication timeout", "stale connection")
"""What is said of a broker, or by one, where it or this process stood still for longer than a connection may take."""

_connect_once = Link.connect


async def connect(options: LinkOptions) -> Link:
    """Try again while the broker is slow; what it refuses is believed at once, and so is that there is none."""
    due_s = time.monotonic() + TIMES * options.connect_timeout.total_seconds()
    while True:
        try:
            return await _connect_once(options)
        except BusUnavailable as error:
            is_slow = type(error) is BusUnavailable and any(word in str(error).lower() for word in _SLOW)
            if not is_slow or time.monotonic() > due_s:
                raise


def be_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have whoever connects from now on wait for its broker."""
    monkeypatch.setattr(Link, "connect", connect)


def wait_for_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have whoever asks or appends from now on, and does not say for how long, count no answer as lost so soon."""
    for ask in (Link.append, Link.request, Link.collect):
        defaults = ask.__kwdefaults__
        assert defaults is not None
        monkeypatch.setitem(defaults, "timeout", LONG)
