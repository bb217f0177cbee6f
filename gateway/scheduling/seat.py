"""One replica on one node as placement sees it: what does not change is worked out once, when it is announced."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from streams.roster import MISSED_REPORTS

if TYPE_CHECKING:
    from streams.messages import NodeStatus
    from streams.replica import Replica
    from streams.roster import NodeView

_GUESSED_TOKENS_PER_S: Final = 1.0
_READS_FASTER: Final = 10.0
"""How much faster than it writes an engine is taken to read, where it says nothing."""

NEVER_S: Final = -math.inf


class Seat:
    """Changed in place: ten thousand of them must cost a placement nothing."""

    __slots__ = (
        "draining",
        "given_at_s",
        "heard_at_s",
        "in_use",
        "interval_s",
        "live_until_s",
        "model",
        "node",
        "position",
        "process",
        "prompt_s",
        "replica",
        "rtt_s",
        "slots",
        "status",
        "token_s",
    )

    def __init__(self, node: str, replica: Replica) -> None:
        """Begin with nobody in it, before the first report."""
        self.node = node
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
        self.announce(replica)

    def announce(self, replica: Replica) -> None:
        """Take what its node says of it; speeds are claims until they are measured."""
        self.replica = replica
        self.slots = replica.slots
        speed = replica.tokens_per_s or _GUESSED_TOKENS_PER_S
        self.measure(tokens_per_s=speed, prompt_tokens_per_s=replica.prompt_tokens_per_s or _READS_FASTER * speed)

    def measure(self, *, tokens_per_s: float, prompt_tokens_per_s: float) -> None:
        """Set how long a token takes it that has the replica to itself, to write and to read."""
        self.token_s = 1 / tokens_per_s
        self.prompt_s = 1 / prompt_tokens_per_s

    def report(self, view: NodeView) -> None:
        """Take its node's last report."""
        self.status = status = view.status
        if status is None or view.heard_at_s is None:
            self.live_until_s = NEVER_S
            return
        self.heard_at_s = view.heard_at_s
        self.interval_s = status.interval_s
        self.live_until_s = NEVER_S if view.is_lost else view.heard_at_s + MISSED_REPORTS * status.interval_s
        self.draining = status.draining
        self.process = status.process

    @property
    def free_share(self) -> float:
        """How much of it is free, 0 to 1."""
        return (self.slots - self.in_use) / self.slots
