"""One replica on one node as placement sees it: what does not change is worked out once, when it is announced."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from gateway.scheduling.strain import strain_of
from streams.devices.roster import MISSED_REPORTS

if TYPE_CHECKING:
    from gateway.scheduling.breaker import Breaker
    from streams.devices.replica import Replica
    from streams.devices.roster import NodeView
    from streams.messages import NodeStatus

_GUESSED_TOKENS_PER_S: Final = 1.0
_READS_FASTER: Final = 10.0
"""How much faster than it writes an engine is taken to read, where it says nothing."""

_LEARNS: Final = 0.2
_WIDEST_STEP: Final = 16.0
_WIDEST_PACE: Final = 64.0
"""One odd measurement moves little, and none of them makes a node useless or a wonder."""

_WARM_AFTER_S: Final = 30.0
_COLDEST: Final = 0.1
_OVERDUE: Final = 1.25
_SLACK_S: Final = 1.0

NEVER_S: Final = -math.inf


class Seat:
    """Changed in place: ten thousand of them must cost a placement nothing."""

    __slots__ = (
        "breaker",
        "draining",
        "given_at_s",
        "heard_at_s",
        "in_use",
        "interval_s",
        "live_until_s",
        "model",
        "node",
        "pace",
        "position",
        "process",
        "prompt_s",
        "replica",
        "returned_at_s",
        "rtt_s",
        "slots",
        "status",
        "strain",
        "token_s",
        "up_since_s",
    )

    def __init__(self, node: str, replica: Replica, breaker: Breaker) -> None:
        """Begin with nobody in it, before the first report; ``breaker`` is the node's, whatever it serves."""
        self.node = node
        self.breaker = breaker
        self.model = replica.model
        self.in_use = 0
        self.rtt_s = 0.0
        self.given_at_s = 0.0
        self.position = -1
        """Where it stands among those with a free slot; -1: it has none."""
        self.status: NodeStatus | None = None
        self.heard_at_s = self.live_until_s = NEVER_S
        self.interval_s = 0.0
        self.draining = False
        self.process = ""
        self.strain = 0.0
        self.pace = 1.0
        """How many times as long as it claims it takes, as measured."""
        self.up_since_s = self.returned_at_s = NEVER_S
        self.announce(replica)

    def announce(self, replica: Replica) -> None:
        """Take what its node says of it; speeds are claims until they are measured."""
        self.replica = replica
        self.slots = replica.slots
        self._work_out_speeds()

    def measure(self, *, took_s: float, expected_s: float) -> None:
        """Learn from an answer: how long it took, and was expected to take at the present pace."""
        ratio = min(max(took_s / expected_s, 1 / _WIDEST_STEP), _WIDEST_STEP)
        self.pace = min(max(self.pace * ratio**_LEARNS, 1 / _WIDEST_PACE), _WIDEST_PACE)
        self._work_out_speeds()

    def measure_way(self, took_s: float) -> None:
        """Learn how long an order took to be acknowledged: down at once, up slowly, since reports may be held up."""
        is_first = not self.rtt_s
        self.rtt_s += (took_s - self.rtt_s) * (1.0 if is_first else 0.5 if took_s < self.rtt_s else 0.05)

    def _work_out_speeds(self) -> None:
        speed = self.replica.tokens_per_s or _GUESSED_TOKENS_PER_S
        self.token_s = self.pace / speed
        self.prompt_s = self.pace / (self.replica.prompt_tokens_per_s or _READS_FASTER * speed)

    def report(self, view: NodeView) -> None:
        """Take its node's last report."""
        self.status = status = view.status
        if status is None or view.heard_at_s is None:
            self.live_until_s = NEVER_S
            return
        self._note_return(view.heard_at_s, status.process)
        self.heard_at_s = view.heard_at_s
        self.interval_s = status.interval_s
        self.live_until_s = NEVER_S if view.is_lost else view.heard_at_s + MISSED_REPORTS * status.interval_s
        self.draining = status.draining
        self.process = status.process
        self.strain = strain_of(status)

    def _note_return(self, heard_at_s: float, process: str) -> None:
        if self.up_since_s == NEVER_S:
            self.up_since_s = heard_at_s
        elif heard_at_s > self.heard_at_s and (self.live_until_s < heard_at_s or process != self.process):
            self.up_since_s = self.returned_at_s = heard_at_s

    def warmth(self, now_s: float) -> float:
        """From 0.1 where it has just come back to 1 half a minute later."""
        here_s = now_s - self.returned_at_s
        return 1.0 if here_s >= _WARM_AFTER_S else max(here_s / _WARM_AFTER_S, _COLDEST)

    def is_overdue(self, now_s: float) -> bool:
        """Whether a report of it is missing, so that others may have given it more than is known here."""
        return now_s > self.heard_at_s + _OVERDUE * self.interval_s + _SLACK_S

    @property
    def free_share(self) -> float:
        """How much of it is free, 0 to 1."""
        return (self.slots - self.in_use) / self.slots
