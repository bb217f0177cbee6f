"""The choice of a seat and the whole reason for it."""

from __future__ import annotations

from msgspec import Struct

from gateway.scheduling.filters import ANYBODYS
from streams.tasks.placing import Candidate, Rejects


class Placement(Struct, frozen=True, kw_only=True):
    """``node`` is None where nobody can take the task now."""

    node: str | None
    model: str = ""
    """What the node is to answer with."""
    policy: str = ""
    """Name and version of the rule."""
    candidates: tuple[Candidate, ...] = ()
    """The best few, then some of those that were passed over."""
    rejects: tuple[Rejects, ...] = ()
    """All that were passed over, by reason."""
    serving: int = 0
    """How many replicas of the model there are, looked at or not."""
    continues: bool = True
    """Whether the chosen engine can go on from a text that another one began."""

    @property
    def first_token_s(self) -> float | None:
        """When the first token was expected of the chosen node; None where that was not reckoned."""
        for each in self.candidates:
            if each.node == self.node and each.model in {None, self.model}:
                return each.first_token_s
        return None

    @property
    def is_full(self) -> bool:
        """Whether nobody at all could be given a slot: none is free where anybody is heard."""
        return sum(each.count for each in self.rejects if each.reason in ANYBODYS) == self.serving

    @property
    def reason(self) -> str:
        """Why nobody can take the task, in words for its owner."""
        if not self.serving:
            return "no node serves this model"
        return f"{self.serving} node(s) serve this model: {', '.join(sorted(each.reason for each in self.rejects))}"
