"""Passages in groups: each is one task for vectors, and one or several messages in PASSAGES."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.retrieval.ingesting.splitting import embedded_text
from streams.stores.passages import Passage, PassageBatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.retrieval.ingesting.splitting import Draft

MOST_TEXTS: Final = 32
PARTS_OF_GROUP: Final = MOST_TEXTS
"""Numbers of parts that each group has for itself: as many as it can need."""

_MOST_GROUP_BYTES: Final = 256 * 1024
"""Of texts in one task; half of what a submission may have."""
_MOST_PART_BYTES: Final = 512 * 1024
"""Of one message, but for what stands around texts and vectors: well below the broker's largest, 1 MB."""


class Group(NamedTuple):
    """Some passages, one behind the other."""

    number: int
    drafts: tuple[Draft, ...]

    def texts(self, most_tokens: int) -> tuple[str, ...]:
        """What is to become vectors, each of ``most_tokens`` at most."""
        return tuple(embedded_text(draft, most_tokens) for draft in self.drafts)

    def begins_like(self, batch: PassageBatch) -> bool:
        """Whether passages that were written down are those of this group."""
        return all(
            (draft.number, draft.place, draft.text) == (passage.number, passage.place, passage.text)
            for draft, passage in zip(self.drafts, batch.passages, strict=False)
        )


def groups_of(drafts: Sequence[Draft]) -> tuple[Group, ...]:
    """Put passages into groups."""
    groups: list[list[Draft]] = []
    room = 0
    for draft in drafts:
        size = len(draft.text.encode())
        if not groups or size > room or len(groups[-1]) == MOST_TEXTS:
            groups.append([])
            room = _MOST_GROUP_BYTES
        groups[-1].append(draft)
        room -= size
    return tuple(Group(number, tuple(group)) for number, group in enumerate(groups))


def packed(group: Group, model: str, vectors: Sequence[bytes]) -> tuple[PassageBatch, ...]:
    """Put a group's passages and their vectors into messages that the broker takes."""
    parts: list[list[Passage]] = []
    room = 0
    for draft, vector in zip(group.drafts, vectors, strict=True):
        size = len(draft.text.encode()) + len(vector)
        if not parts or size > room:
            parts.append([])
            room = _MOST_PART_BYTES
        passage = Passage(number=draft.number, text=draft.text, place=draft.place, tokens=draft.tokens, vector=vector)
        parts[-1].append(passage)
        room -= size
    return tuple(PassageBatch(model=model, passages=tuple(part)) for part in parts)
