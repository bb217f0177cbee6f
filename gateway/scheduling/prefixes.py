"""Which node has read which beginnings of prompts: what an engine keeps of them need not be read again.

A prompt is cut into blocks of characters; each block's hash covers all blocks before it and the account, so that two
accounts never share one (whose prompt was fast would tell what another has asked). The memory is one process's own and
bounded; empty, as after a start, it costs time and nothing else.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence, Set

    from streams.tasks.chat import Message

BLOCK_CHARS: Final = 256
BLOCK_TOKENS: Final = 64
"""What a block is taken for: four characters to a token, as everywhere where nobody knows the model's tokens."""

MOST_BLOCKS: Final = 256
"""Of a longer prompt only the beginning is remembered."""

_DIGEST_BYTES: Final = 8

Place = tuple[str, str]
"""A node, and the model that it has read a prompt with."""

_NOBODY: Final[frozenset[Place]] = frozenset()


def blocks_of(messages: Sequence[Message], raw_prompt: str = "", *, account: str, salt: bytes) -> tuple[bytes, ...]:
    """Cut a prompt into whole blocks and hash them, each with all before it; ``salt`` is 16 to 64 secret bytes.

    A raw prompt shares none with messages: an engine reads it without what a template puts before them.
    """
    said = [f"{message.role}\0{message.content}\0" for message in messages]
    text = "".join(said) if said else f"\0{raw_prompt}"
    count = min(len(text) // BLOCK_CHARS, MOST_BLOCKS)
    # One hash that goes on over the text: what it is after each block covers all before it.
    running = hashlib.blake2b(account.encode() + b"\0", digest_size=_DIGEST_BYTES, key=salt)
    found: list[bytes] = []
    for start in range(0, count * BLOCK_CHARS, BLOCK_CHARS):
        running.update(text[start : start + BLOCK_CHARS].encode("utf-8", "surrogatepass"))
        found.append(running.digest())
    return tuple(found)


class PrefixMemory:
    """What each node has read lately, as much as its engine can keep, the latest last."""

    def __init__(self, *, most_blocks: int = 262_144) -> None:
        """Begin knowing nothing; ``most_blocks`` bounds all nodes together."""
        self._most = most_blocks
        self._read: OrderedDict[Place, OrderedDict[bytes, None]] = OrderedDict()
        self._readers: dict[bytes, set[Place]] = {}
        self._blocks = 0

    def note(self, place: Place, prefix: Sequence[bytes], *, capacity_tokens: int) -> None:
        """Take note that a node reads a prompt, with an engine that keeps so many tokens."""
        if not prefix:
            return
        read = self._read.setdefault(place, OrderedDict())
        self._read.move_to_end(place)
        # The beginning last: what is forgotten first are ends, without which a beginning is still worth having.
        for block in reversed(prefix):
            if block in read:
                read.move_to_end(block)
            else:
                read[block] = None
                self._readers.setdefault(block, set()).add(place)
                self._blocks += 1
        while len(read) > max(capacity_tokens // BLOCK_TOKENS, 1):
            self._drop(place, read.popitem(last=False)[0])
        while self._blocks > self._most:
            self.forget(next(iter(self._read)))

    def forget(self, place: Place) -> None:
        """A node was started again, or has left: what it had read is gone."""
        for block in self._read.pop(place, ()):
            self._drop(place, block)

    def tokens_read(self, prefix: Sequence[bytes]) -> dict[Place, int]:
        """How many tokens of a prompt each node has read before, from its beginning on."""
        found: dict[Place, int] = {}
        holders: Set[Place] = self._readers.get(prefix[0], _NOBODY) if prefix else _NOBODY
        count = 1
        while holders and count < len(prefix):
            readers = self._readers.get(prefix[count], _NOBODY)
            if not holders <= readers:
                found.update(dict.fromkeys(holders - readers, count * BLOCK_TOKENS))
                holders = holders & readers
            count += 1
        found.update(dict.fromkeys(holders, count * BLOCK_TOKENS))
        return found

    def __len__(self) -> int:
        """How many blocks are remembered, of all nodes."""
        return self._blocks

    def _drop(self, place: Place, block: bytes) -> None:
        readers = self._readers[block]
        readers.discard(place)
        if not readers:
            del self._readers[block]
        self._blocks -= 1
