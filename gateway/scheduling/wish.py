"""What a task needs of a node, and what is thought of one: what placement is asked with."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from msgspec import Struct

from streams.devices.replica import Ability, ModelKind
from streams.subjects import ServiceClass
from streams.tasks.answer_check import CheckOf
from streams.tasks.placing import Rules

Level = Literal["simple", "moderate", "hard"]

USUAL_ANSWER_TOKENS: Final = 128
"""What an answer is taken to be long where nobody said; with ``max_tokens`` it is at most that."""

NO_RULES: Final = Rules()


class Wish(Struct, frozen=True, kw_only=True):
    """What one attempt at a task needs. ``avoid`` are nodes that have failed it: they come last, not never."""

    model: str
    """The name that was asked for."""
    models: tuple[str, ...] = ()
    """The models that may answer for it; none: that name is a model."""
    losses_s: tuple[float, ...] = ()
    """How many seconds each of ``models`` would have to be faster to be as welcome as the best of them."""
    seed: str = ""
    """The task's id: draws are made from it, so that anybody can make them again."""
    account: str = ""
    prompt_tokens: int = 0
    """An estimate (``tokens_in``)."""
    answer_tokens: int = USUAL_ANSWER_TOKENS
    """How long the answer is expected to be."""
    most_answer_tokens: int = 0
    """How long it may be; 0: nobody said."""
    kind: ModelKind = "chat"
    longest_text_tokens: int = 0
    """Of texts that are to become vectors, which are read one by one: an estimate of the longest."""
    dimensions: int | None = None
    """Numbers in each vector, where somebody said how many."""
    needs: frozenset[Ability] = frozenset()
    service_class: ServiceClass = "standard"
    left_s: float | None = None
    """Seconds to the deadline."""
    level: Level = "moderate"
    """How hard it is taken to be (``complexity``)."""
    rules: Rules = NO_RULES
    prefix: tuple[bytes, ...] = ()
    """Its prompt in blocks (``prefixes.blocks_of``)."""
    avoid: frozenset[str] = frozenset()
    has_text: bool = False
    """Whether a part of the answer is written: engines that can go on from it come first."""
    is_suspect: bool = False
    """Whether it may be what kills its nodes: then it shares none with another suspect."""
    beside: str = ""
    """The node that has the task already, where this is about a second one (ADR 18)."""
    check: CheckOf | None = None
    """Which answer is to be written once more: by another node, with the same engine."""

    @property
    def able_models(self) -> tuple[str, ...]:
        """The models that may answer."""
        return self.models or (self.model,)

    @property
    def context_tokens(self) -> int:
        """How many tokens an engine has to hold at once."""
        return self.longest_text_tokens or self.prompt_tokens + self.most_answer_tokens


class Kind(NamedTuple):
    """What a policy must know of a wish to leave out what cannot matter for it."""

    is_check: bool
    is_suspect: bool
    has_region: bool
    has_ceiling: bool
    has_floor: bool
    can_wait: bool
    has_text: bool
    has_deadline: bool
    has_prefix: bool
    is_of_several: bool


def kind_of(wish: Wish) -> Kind:
    """Tell of what kind a wish is."""
    rules = wish.rules
    return Kind(
        wish.check is not None,
        wish.is_suspect,
        rules.region is not None,
        rules.highest_price_micro is not None,
        rules.lowest_reputation > 0,
        wish.service_class == "batch",
        wish.has_text,
        wish.left_s is not None,
        bool(wish.prefix),
        bool(wish.losses_s),
    )


class Regard(Struct, frozen=True, kw_only=True):
    """What is thought of a node, whatever the task."""

    reputation: float = 1.0
    """0 to 1 (``streams.devices.reputation``)."""
    objection: str | None = None
    """Why it is given nothing."""
    owner: str | None = None
    """The account that it belongs to."""
    stake: int = 0
    """What its owner has put at stake for it, in units of the mesh."""


WELL_REGARDED: Final = Regard()
