"""Choosing a node: a pure function of the task, the nodes as they stand, and the slots in use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from streams.events import Candidate

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from streams.roster import NodeView

POLICY: Final = "most-speed-free.v2"
"""Name and version of the rule, kept with every placement."""

_GUESSED_TOKENS_PER_S: Final = 1.0
_WRITES_ANEW: Final = 0.1


class Wish(Struct, frozen=True, kw_only=True):
    """What a task needs of a node. ``avoid`` are nodes that have failed it: they come last, not never."""

    model: str
    avoid: frozenset[str] = frozenset()
    has_text: bool = False
    """Whether a part of the answer is written: engines that can go on from it come first."""
    is_suspect: bool = False
    """Whether it may be what kills its nodes: then it shares none with another suspect."""


class Placement(Struct, frozen=True, kw_only=True):
    """The choice and the whole reason for it; ``node`` is None where nobody can take the task now."""

    node: str | None
    candidates: tuple[Candidate, ...]
    continues: bool = True
    """Whether the chosen engine can go on from a text that another one began."""

    @property
    def reason(self) -> str:
        """Why nobody can take the task, in words for its owner."""
        if not self.candidates:
            return "no node serves this model"
        reasons = sorted({candidate.rejected for candidate in self.candidates if candidate.rejected})
        return f"{len(self.candidates)} node(s) serve this model: {', '.join(reasons)}"


def place(
    wish: Wish, nodes: Iterable[NodeView], in_use: Mapping[str, int], *, suspected: Container[str] = ()
) -> Placement:
    """Choose the node that promises the most tokens per second to one more task; those that failed it come last.

    Args:
        wish: what the task needs.
        nodes: the nodes that announced the model, live or not.
        in_use: slots of the model in use by node, as this dispatcher reckons.
        suspected: nodes that run a suspect.
    """
    asked = tuple(nodes)
    candidates = tuple(_judge(wish, node, in_use.get(node.node, 0), suspected) for node in asked)
    able = [candidate for candidate in candidates if candidate.score is not None]
    best = max(able, key=_preference, default=None)
    if best is None:
        return Placement(node=None, candidates=candidates)
    replica = next(node.replica_of(wish.model) for node in asked if node.node == best.node)
    return Placement(node=best.node, candidates=candidates, continues=replica is None or replica.continues)


def _preference(candidate: Candidate) -> tuple[bool, float, str]:
    return not candidate.has_failed, candidate.score or 0.0, candidate.node


def _judge(wish: Wish, node: NodeView, in_use: int, suspected: Container[str]) -> Candidate:
    replica = node.replica_of(wish.model)
    if replica is None or not node.is_live:
        return Candidate(node=node.node, rejected="not reporting")
    if node.status is not None and node.status.draining:
        return Candidate(node=node.node, rejected="draining")
    if in_use >= replica.slots:
        return Candidate(node=node.node, rejected="all slots busy")
    if wish.is_suspect and node.node in suspected:
        return Candidate(node=node.node, rejected="another task that lost its nodes runs there")
    speed = replica.tokens_per_s or _GUESSED_TOKENS_PER_S
    free = (replica.slots - in_use) / replica.slots
    ease = 1.0 if replica.continues or not wish.has_text else _WRITES_ANEW
    return Candidate(node=node.node, score=round(speed * free * ease, 6), has_failed=node.node in wish.avoid)
