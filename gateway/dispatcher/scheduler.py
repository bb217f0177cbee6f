"""Choosing a node: a pure function of the task, the nodes as they stand, and the slots in use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from streams.events import Candidate, CheckOf

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from streams.replica import Replica
    from streams.roster import NodeView

POLICY: Final = "most-speed-free.v3"
"""Name and version of the rule, kept with every placement."""

_GUESSED_TOKENS_PER_S: Final = 1.0
_WRITES_ANEW: Final = 0.1


class Regard(Struct, frozen=True, kw_only=True):
    """What is thought of a node, whatever the task."""

    reputation: float = 1.0
    """0 to 1 (``streams.reputation``)."""
    objection: str | None = None
    """Why it is given nothing."""


_WELL_REGARDED: Final = Regard()


class Wish(Struct, frozen=True, kw_only=True):
    """What a task needs of a node. ``avoid`` are nodes that have failed it: they come last, not never."""

    model: str
    avoid: frozenset[str] = frozenset()
    has_text: bool = False
    """Whether a part of the answer is written: engines that can go on from it come first."""
    is_suspect: bool = False
    """Whether it may be what kills its nodes: then it shares none with another suspect."""
    check: CheckOf | None = None
    """Which answer is to be written once more: by another node, with the same engine."""


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
    wish: Wish,
    nodes: Iterable[NodeView],
    in_use: Mapping[str, int],
    *,
    suspected: Container[str] = (),
    regards: Mapping[str, Regard] | None = None,
) -> Placement:
    """Choose the node that promises the most tokens per second worth having; those that failed the task come last.

    Args:
        wish: what the task needs.
        nodes: the nodes that announced the model, live or not.
        in_use: slots of the model in use by node, as this dispatcher reckons.
        suspected: nodes that run a suspect.
        regards: what is thought of nodes; those that are left out are well regarded.
    """
    asked, known = tuple(nodes), regards or {}
    candidates = tuple(
        _judge(wish, node, in_use.get(node.node, 0), suspected, known.get(node.node, _WELL_REGARDED)) for node in asked
    )
    able = [candidate for candidate in candidates if candidate.score is not None]
    best = max(able, key=_preference, default=None)
    if best is None:
        return Placement(node=None, candidates=candidates)
    replica = next(node.replica_of(wish.model) for node in asked if node.node == best.node)
    return Placement(node=best.node, candidates=candidates, continues=replica is None or replica.continues)


def _preference(candidate: Candidate) -> tuple[bool, float, str]:
    return not candidate.has_failed, candidate.score or 0.0, candidate.node


def _judge(wish: Wish, node: NodeView, in_use: int, suspected: Container[str], regard: Regard) -> Candidate:
    replica = node.replica_of(wish.model)
    if replica is None or not node.is_live:
        return Candidate(node=node.node, rejected="not reporting")
    if (objection := _objection(wish, node, replica, in_use) or regard.objection) is not None:
        return Candidate(node=node.node, rejected=objection)
    if wish.is_suspect and node.node in suspected:
        return Candidate(node=node.node, rejected="another task that lost its nodes runs there")
    speed = replica.tokens_per_s or _GUESSED_TOKENS_PER_S
    free = (replica.slots - in_use) / replica.slots
    ease = 1.0 if replica.continues or not wish.has_text else _WRITES_ANEW
    score = round(speed * free * ease * regard.reputation, 6)
    return Candidate(node=node.node, score=score, has_failed=node.node in wish.avoid)


def _objection(wish: Wish, node: NodeView, replica: Replica, in_use: int) -> str | None:
    if node.status is not None and node.status.draining:
        return "draining"
    if in_use >= replica.slots:
        return "all slots busy"
    if wish.check is None:
        return None
    if node.node in {wish.check.node, wish.check.other}:
        return "it wrote what is checked"
    return None if runs_alike(replica, wish.check) else "it runs another engine or quantisation"


def runs_alike(replica: Replica, check: CheckOf) -> bool:
    """Whether a replica may come to the very answer that is checked."""
    return (replica.engine, replica.quantisation) == (check.engine, check.quantisation)
