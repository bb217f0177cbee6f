"""All limits of one gateway: whose hold for a caller, and what is seen to in the background."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from gateway.limits.meter import Meter
from gateway.limits.store import Owner, SharedLimits
from gateway.limits.ticket import Ticket
from streams.clock import now_ms
from streams.events import TaskCompleted
from streams.limits import NO_LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.limits.rules import LimitRules
    from gateway.limits.store import LimitStore
    from mesh.access.caller import Caller
    from streams.events import EndEvent
    from streams.subjects import TaskKey

log = logging.getLogger(__name__)

_TEND_S: Final = 0.25
_MOST_METERS: Final = 20_000
"""Accounts and keys that are remembered; those that were not seen for the longest time are forgotten beyond."""
_GRACE_MS: Final = 60_000
_STOP_S: Final = 1.0

Meters = tuple[Meter, ...]
