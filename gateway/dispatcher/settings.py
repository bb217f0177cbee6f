"""Settings of the dispatcher."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from msgspec import Meta, Struct

from gateway.dispatcher.overflow import MOST_OF_A_CLASS
from gateway.scheduling.aliases import Alias, parse_aliases
from gateway.settings import MOST_OPEN

PolicyName = Literal["edge-first", "latency", "cost", "private", "ig3"]
"""Those in ``gateway.scheduling.policies``."""

SMALL_MODEL = "smollm2-135m-instruct"
"""The model that `ig3 up` serves when nothing else was asked for."""


class DispatcherSettings(Struct, frozen=True, kw_only=True):
    """How one dispatcher works."""

    policy: Annotated[
        PolicyName, Meta(description="How nodes are chosen for tasks that name no policy of their own.")
    ] = "edge-first"
    window: Annotated[
        int, Meta(ge=1, le=10_000, description="Tasks of each class that this dispatcher holds, running or waiting.")
    ] = 1024
    deadline: Annotated[timedelta, Meta(description="How long a task may take when it says nothing itself.")] = (
        timedelta(minutes=10)
    )
    max_attempts: Annotated[
        int, Meta(ge=1, le=100, description="How many attempts at a task may come to nothing before it is dead.")
    ] = 5
    max_lost_nodes: Annotated[
        int,
        Meta(ge=1, le=100, description="How many nodes a task may lose before it is taken for what kills them: dead."),
    ] = 3
    retry_pause: Annotated[
        timedelta, Meta(description="Pause before the second attempt, give or take half; it doubles with each one.")
    ] = timedelta(milliseconds=200)
    stall: Annotated[
        timedelta, Meta(description="How long an attempt may go without a new token before another node gets the task.")
    ] = timedelta(minutes=2)
    spot_checks: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="Share of greedy answers (temperature 0) that another node writes once more, to compare.",
        ),
    ] = 0.0
    hedge_share: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="Of all attempts at tasks, how many a second node may be asked to begin too, where the first "
            "word of an urgent one is later than 95 of 100 are. 0: never.",
        ),
    ] = 0.05
    hedge_after: Annotated[
        timedelta, Meta(description="A second node is never asked sooner than this, however fast first words are.")
    ] = timedelta(milliseconds=500)
    account_limit: Annotated[
        int,
        Meta(ge=1, description="Tasks of one account and class that this dispatcher holds; more wait in the queue."),
    ] = 768
    account_overflow: Annotated[
        int,
        Meta(
            ge=MOST_OPEN,
            le=MOST_OF_A_CLASS,
            description="Tasks of one account and class that may wait like that; more fail with status 429.",
        ),
    ] = MOST_OPEN
    aliases: Annotated[
        tuple[str, ...],
        Meta(
            description="Names that stand for models: NAME=MODEL,MODEL. `auto` chooses by how hard the request is, "
            "from the smallest to the largest; any other falls back in order.",
            examples=["auto=SMALL,LARGE"],
        ),
    ] = ()
    scale_up_after: Annotated[
        timedelta,
        Meta(
            description="How long tasks must wait for a model with all slots taken before one more replica is wanted."
        ),
    ] = timedelta(seconds=5)
    scale_down_after: Annotated[
        timedelta, Meta(description="How long one replica fewer must have been enough before it is given up.")
    ] = timedelta(minutes=5)
    scale_to_zero_after: Annotated[
        timedelta, Meta(description="How long nobody must have asked a model before its last replica is given up.")
    ] = timedelta(minutes=10)
    ledger_patience: Annotated[
        timedelta,
        Meta(description="How long a task waits for the ledger to put aside what it may cost, where there are prices."),
    ] = timedelta(seconds=2)
    known_models: Annotated[
        tuple[str, ...],
        Meta(description="Models that tasks may wait for although no node has announced them yet."),
    ] = (SMALL_MODEL,)

    def __post_init__(self) -> None:
        """Check what a type cannot say."""
        _ = self.alias_table

    @property
    def alias_table(self) -> dict[str, Alias]:
        """The aliases by name."""
        return parse_aliases(self.aliases)
