"""Which node of a group holds which part of a model: a pure decision, by memory and by how the links were measured.

Each token passes every member once, whatever the member holds: a slow link costs the same for one layer as for twenty.
So those whose links are best are taken until the model fits, the others are left out, and the layers spread over those
that were taken in the ratio of their memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from nodes.engines.llama.model import Offload
from nodes.errors import EngineUnavailable
from streams.groups.part import GroupPart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nodes.models.file import ModelFile

WORKING_BYTES: Final = 16 << 20
"""What a process needs beside weights and context."""

_BATCH_TOKENS: Final = 64
_LOGIT_BYTES: Final = 4


class Weights(Struct, frozen=True, kw_only=True):
    """What a model takes, part by part."""

    layers: int
    layer_bytes: int
    """One layer, what it keeps of the whole context included."""
    embedding_bytes: int
    """Stays with the leader."""
    output_bytes: int
    """Goes to whoever holds the last layer, with the room to compute in."""


class Capacity(Struct, frozen=True, kw_only=True):
    """What one node gives; the leader has no link to itself."""

    node: str
    memory_bytes: int
    rtt_ms: float = 0.0
    mib_per_s: float | None = None

    @property
    def cost_ms(self) -> float:
        """How long a round trip with one MiB takes on the link."""
        return self.rtt_ms + (1000 / self.mib_per_s if self.mib_per_s else 0.0)


class Split(Struct, frozen=True, kw_only=True):
    """Who holds what: the leader's part first, then the members' in the order of the layers."""

    parts: tuple[GroupPart, ...]

    @property
    def offload(self) -> Offload:
        """The same as llama.cpp is told it; its layers go to devices in the order in which they were added."""
        layers = [part.layers for part in self.parts[1:]]
        return Offload(layers=sum(layers), shares=tuple(float(count) for count in layers))


def weights_of(model: ModelFile, context_tokens: int) -> Weights:
    """Measure a model by its header.

    Raises:
        EngineUnavailable: if the header does not say how many layers there are.
    """
    header = model.header
    if not header.layers:
        raise EngineUnavailable(f"{model.path} does not say how many layers it has: it cannot be split")
    own_output = header.output_bytes if header.output_bytes != header.embedding_bytes else 0
    cache = (header.cache_bytes_per_token or 0) * context_tokens
    in_layers = model.files_bytes - header.embedding_bytes - own_output + cache
    return Weights(
        layers=header.layers,
        layer_bytes=-(-in_layers // header.layers),
        embedding_bytes=header.embedding_bytes,
        # Twice: it arrives whole before it is put where it stays.
        output_bytes=2 * header.output_bytes + header.vocabulary_tokens * _BATCH_TOKENS * _LOGIT_BYTES,
    )


def needed_elsewhere(weights: Weights, own_bytes: int) -> int:
    """Return what members must hold together if the leader holds as much as it can."""
    layers = weights.layers - _own_layers(weights, own_bytes)
    return layers * weights.layer_bytes + weights.output_bytes + 2 * WORKING_BYTES


def split_model(weights: Weights, leader: Capacity, members: Sequence[Capacity]) -> Split:
    """Decide who holds what.

    Raises:
        EngineUnavailable: if all together cannot hold it.
    """
    taken: list[Capacity] = []
    for member in sorted(members, key=lambda each: (each.cost_ms, -each.memory_bytes, each.node)):
        taken.append(member)
        # The one with the most room comes last: the output is there.
        order = sorted(taken, key=lambda each: (each.memory_bytes, each.node))
        room = [_room(weights, each, holds_output=each is order[-1]) for each in order]
        own = _own_layers(weights, leader.memory_bytes)
        if room[-1] >= 0 and own + sum(map(_positive, room)) >= weights.layers:
            return _spread(weights, leader, own, order, room)
    together = sum(each.memory_bytes for each in members)
    raise EngineUnavailable(
        f"the model does not fit: {len(members)} members lend {_mib(together)} together and the leader gives"
        f" {_mib(leader.memory_bytes)}, and {weights.layers} layers of {_mib(weights.layer_bytes)}, the output"
        f" ({_mib(weights.output_bytes)}) and room to work in must go there"
    )


def _spread(weights: Weights, leader: Capacity, own: int, order: Sequence[Capacity], room: Sequence[int]) -> Split:
    rooms = [own, *map(_positive, room)]
    layers = _in_ratio(weights.layers, rooms)
    parts = [
        GroupPart(
            node=leader.node,
            layers=layers[0],
            memory_bytes=layers[0] * weights.layer_bytes + weights.embedding_bytes,
        )
    ]
    for member, count in zip(order, layers[1:], strict=True):
        is_last = member is order[-1]
        if not count and not is_last:
            continue
        parts.append(
            GroupPart(
                node=member.node,
                # The output is a layer of its own to llama.cpp.
                layers=count + is_last,
                memory_bytes=count * weights.layer_bytes + is_last * weights.output_bytes,
                rtt_ms=round(member.rtt_ms, 3),
                mib_per_s=None if member.mib_per_s is None else round(member.mib_per_s, 1),
            )
        )
    return Split(parts=tuple(parts))


def _in_ratio(total: int, rooms: Sequence[int]) -> list[int]:
    """Spread ``total`` in the ratio of ``rooms``, none more than its own, of which there are enough together."""
    whole = sum(rooms)
    shares = [total * room // whole for room in rooms]
    rest = total - sum(shares)
    for place in sorted(range(len(rooms)), key=lambda at: -(total * rooms[at] % whole)):
        if rest and shares[place] < rooms[place]:
            shares[place] += 1
            rest -= 1
    return shares


def _own_layers(weights: Weights, own_bytes: int) -> int:
    return min(weights.layers, max(0, own_bytes - weights.embedding_bytes - WORKING_BYTES) // weights.layer_bytes)


def _room(weights: Weights, member: Capacity, *, holds_output: bool) -> int:
    """Return how many layers a member can hold; less than nothing where not even the output fits."""
    # One layer's tensor is in transit beside those that are there.
    left = member.memory_bytes - WORKING_BYTES - (weights.output_bytes if holds_output else weights.layer_bytes)
    return left // weights.layer_bytes if left >= 0 else -1


def _positive(count: int) -> int:
    return max(0, count)


def _mib(count: int) -> str:
    return f"{count / (1 << 20):.0f} MiB"
