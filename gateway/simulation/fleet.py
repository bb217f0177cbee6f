"""Devices of a scenario, and of a log: who they are is drawn from the seed, or read."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from gateway.simulation.device import Device
from gateway.simulation.scenario import NodeKind
from gateway.simulation.trace import MODEL
from streams.devices.replica import Price, Replica

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.simulation.scenario import Scenario

_ENGINE: Final = "simulated"


def devices_of(scenario: Scenario, models: Sequence[str] = (MODEL,)) -> Iterator[Device]:
    """Make the devices of a scenario anew; each serves all of the models."""
    dice = random.Random(f"{scenario.seed}/fleet")
    kinds = dice.choices(scenario.mix, [kind.share for kind in scenario.mix], k=scenario.nodes)
    for number, kind in enumerate(kinds):
        speed = dice.uniform(*kind.tokens_per_s)
        replicas = tuple(_replica(kind, model, speed) for model in models)
        rtt_s, truth = dice.uniform(*kind.rtt_s), dice.uniform(*kind.honesty)
        yield Device(f"{kind.name}-{number}", kind, replicas, rtt_s=rtt_s, truth=truth)


def announced(replicas: Mapping[str, Sequence[Replica]], scenario: Scenario) -> Iterator[Device]:
    """Make devices of what nodes announced, believed as it stands. How far they are is drawn, since no log has it."""
    dice = random.Random(f"{scenario.seed}/fleet")
    for name, served in sorted(replicas.items()):
        kind = NodeKind(
            name="announced",
            share=1,
            slots=max(replica.slots for replica in served),
            tokens_per_s=(0, 0),
            reads_faster=10,
            context_tokens=max(replica.context_tokens for replica in served),
            cache_tokens=max(replica.context_tokens * replica.slots for replica in served),
            rtt_s=(0.001, 0.05),
            fails=0,
            tier=served[0].tier,
        )
        yield Device(name, kind, tuple(served), rtt_s=dice.uniform(*kind.rtt_s), truth=1.0)


def _replica(kind: NodeKind, model: str, tokens_per_s: float) -> Replica:
    is_priced = kind.prompt_micro or kind.completion_micro
    return Replica(
        model=model,
        engine=_ENGINE,
        context_tokens=kind.context_tokens,
        slots=kind.slots,
        tokens_per_s=tokens_per_s,
        prompt_tokens_per_s=tokens_per_s * kind.reads_faster,
        tier=kind.tier,
        price=Price(prompt_micro=kind.prompt_micro, completion_micro=kind.completion_micro) if is_priced else None,
    )
