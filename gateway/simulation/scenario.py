"""What a simulation is made of, as values: nodes, how they come and go, and what is asked of them."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from streams.devices.replica import Tier

Span = tuple[float, float]
"""From the least to the most; drawn evenly between them."""


class NodeKind(Struct, frozen=True, kw_only=True):
    """One kind of device. Speeds are those of one request on an empty device."""

    name: str
    share: float
    """Of all nodes."""
    slots: int
    tokens_per_s: Span
    reads_faster: float
    """How many times as fast as it writes it reads a prompt."""
    context_tokens: int
    cache_tokens: int
    """How much of what it has read it keeps, the latest, in blocks of 64 tokens."""
    rtt_s: Span
    crowding: float = 0.48
    """By how much each request beside it slows a request down: 0.48 gives four at once 1.64 times the tokens of one,
    as measured with llama.cpp on two cores (docs/benchmarks.md)."""
    honesty: Span = (0.7, 1.1)
    """Its true speed, over what it claims."""
    fails: float = 0.002
    """The chance that an attempt breaks off half-way, for no fault of the task."""
    stalls: float = 0.0
    """The chance that an attempt stands still before its first token, as when a device swaps or is used otherwise."""
    stalls_s: Span = (0.0, 0.0)
    tier: Tier = "edge"
    prompt_micro: int = 0
    completion_micro: int = 0
    """What a million tokens cost, in millionths of a USD."""


class Churn(Struct, frozen=True, kw_only=True):
    """How nodes come and go. Spans are means; times are exponential."""

    up_s: float
    down_s: float
    crash_share: float = 0.5
    """How many of those that go do so without a word; the others end what they have begun."""


class Bursts(Struct, frozen=True, kw_only=True):
    """Times of haste between times of rest, both exponential."""

    factor: float
    """How many times as much is asked in haste."""
    on_s: float
    off_s: float


class Demand(Struct, frozen=True, kw_only=True):
    """What is asked: conversations begin at random, and each next turn comes a while after the last answer."""

    conversations: int
    per_s: float
    """Conversations that begin, in times of rest."""
    turns: tuple[int, int]
    question_chars: tuple[int, int]
    answer_tokens: tuple[int, int]
    think_s: float
    """Mean time from an answer to the next question; exponential."""
    system_prompts: int = 0
    """How many different ones there are; 0: none."""
    system_chars: int = 0
    document_chars: tuple[int, int] = (0, 0)
    """A text that stands before the first question, another one in each conversation."""
    accounts: int = 8
    bursts: Bursts | None = None


class Scenario(Struct, frozen=True, kw_only=True):
    """One simulation, but for the policy."""

    name: str
    about: str
    seed: int
    nodes: int
    mix: tuple[NodeKind, ...]
    demand: Demand
    churn: Churn | None = None
    patience_s: float = 120.0
    """How long an attempt waits for a node before the task fails."""
    max_attempts: int = 5

    def scaled(self, nodes: int) -> Scenario:
        """Return the same with another number of nodes, and as much asked of each of them."""
        by = nodes / self.nodes
        demand = self.demand
        more = replace(demand, per_s=demand.per_s * by, conversations=max(round(demand.conversations * by), 1))
        return replace(self, nodes=nodes, demand=more)
