"""What services say of their projections of the log, in CORE on ``projection.standing``, to whoever verifies them."""

from __future__ import annotations

from msgspec import Struct

from streams.tasks.chat import Count
from streams.wire import Wire


class ProjectionRequest(Wire, frozen=True, kw_only=True, tag="projection.request.v1"):
    """What have your projections of the log come to?"""


class RosterDigest(Struct, frozen=True, kw_only=True):
    """A service's roster at one moment: how far it has read each log, and a digest of what that adds up to."""

    models_sequence: Count
    models: str
    devices_sequence: Count
    devices: str


class FoldDigest(Struct, frozen=True, kw_only=True):
    """A service's fold of one stream at one moment: how far it has read, and a digest of what that adds up to."""

    projection: str
    """Its name: ``devices``, ``access``, ``groups`` or ``work``."""
    sequence: Count
    state: str


class TaskDigest(Struct, frozen=True, kw_only=True):
    """What a dispatcher has made of one task's log, up to a sequence of its stream."""

    account: str
    task: str
    sequence: Count
    n: Count
    state: str


class Projections(Wire, frozen=True, kw_only=True, tag="projection.standing.v1"):
    """The answer of one service, in as many messages as it takes: ``more`` follow. Each has what it holds itself."""

    service: str
    roster: RosterDigest | None = None
    tasks: tuple[TaskDigest, ...] = ()
    more: bool = False
    folds: tuple[FoldDigest, ...] = ()
