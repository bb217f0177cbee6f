"""The writing side of one attempt: fenced chunks, one at a time, and what to do when an append is in doubt.

A refused fence or a missing acknowledgement is a question, never a verdict (DESIGN, "Life of a task", 5): the writer
asks the dispatcher, who reads the stream, and then goes on behind what is stored or stops.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from mesh.bus.appends import Fence
from mesh.errors import FenceMismatch, NoResponders, PublishRefused, PublishUnknown, RequestTimedOut
from nodes.pauses import pause_s
from streams import subjects
from streams.codec import decode, encode
from streams.errors import UndecodableEvent
from streams.events import TaskChunk
from streams.messages import Ask, Standing
from streams.rights import GRANT_LASTS
from streams.subjects import TaskKey
from streams.tasks import chunk_chain

if TYPE_CHECKING:
    from collections.abc import Callable

    from mesh.bus.link import Link
    from mesh.errors import BusError
    from nodes.attempts.outbox import Batch
    from streams.events import ChunkSignature
    from streams.tokens import Token

    Sign = Callable[[bytes], ChunkSignature]

log = logging.getLogger(__name__)

ASK_TIMEOUT: Final = timedelta(seconds=2)
GRANT_WAIT_S: Final = 1.0
_RENEW_AFTER_S: Final = 0.7 * GRANT_LASTS.total_seconds()
"""A grant ends with its time: whoever still writes then asks for another before that."""
_MOST_REFUSALS: Final = 8
_QUICK_DOUBTS: Final = 2


class Verdict(StrEnum):
    """How an attempt to write ended."""

    STORED = "stored"
    VOID = "void"
    """The attempt is no longer ours: stop, silently."""
    LOST = "lost"
    """The stream does not hold what it acknowledged, or takes nothing more: this attempt cannot go on."""


class Grant(Struct, frozen=True, kw_only=True):
    """The right to write an attempt's chunks, and where the next one goes.

    ``subject`` is the reply subject of the assignment; none: another node has the task, and nothing may be written so
    far. ``chars`` counts the characters of the answer before it, those of its text and of its calls, or its vectors.
    """

    key: TaskKey
    attempt: int
    subject: str
    next_n: int
    last_sequence: int
    chars: int = 0


class ChunkWriter:
    """Writes the chunks of one attempt; only one ``write`` at a time."""

    def __init__(self, link: Link, node: Token, grant: Grant, sign: Sign | None = None) -> None:
        """Write through ``link`` as ``node``, from where ``grant`` says; ``sign`` signs for a chain of chunks."""
        self._link = link
        self._ask_subject = subjects.node_api(node, "ask")
        self._filter = subjects.results_of(grant.key)
        self._grant = grant
        self._next_n = grant.next_n
        self._last_sequence = grant.last_sequence
        self._chars = grant.chars
        self._sign = sign
        self._begin = self._chain = self._sent = chunk_chain.begin(grant.key, grant.attempt, node)
        self._granted_on = connection_number(link)
        self._granted_at_s = time.monotonic()
        self._writing = False
        self._renewed = asyncio.Event()

    @property
    def is_hidden(self) -> bool:
        """Whether this is a second node's work (ADR 18): held back until a grant comes, or a stop."""
        return not self._grant.subject

    @property
    def last_sequence(self) -> int:
        """Stream sequence of the last event of the task that this writer knows of."""
        return self._last_sequence

    def signature(self) -> ChunkSignature | None:
        """Sign for what is stored, as far as this writer knows; None if that is nothing, or there is no key."""
        return None if self._sign is None or self._chain == self._begin else self._sign(self._chain)

    def renew(self, grant: Grant) -> None:
        """Take a fresh grant for the same attempt: a reconnect loses the old one.

        While an append is in flight its acknowledgement decides where the next chunk goes, not the grant: the grant
        was written before the dispatcher could know.
        """
        was_hidden = self.is_hidden
        self._grant = grant
        self._granted_on = connection_number(self._link)
        self._granted_at_s = time.monotonic()
        if was_hidden or (not self._writing and grant.last_sequence > self._last_sequence):
            self._next_n, self._last_sequence = grant.next_n, grant.last_sequence
        self._renewed.set()

    async def write(self, batch: Batch) -> Verdict:
        """Store a batch as the next chunk, however often the place for it moves.

        Raises:
            BusUnavailable: if the connection is closed for good.
        """
        refusals = doubts = 0
        self._writing = True
        try:
            while refusals < _MOST_REFUSALS:
                if self._link.is_connected and self._holds_grant():
                    try:
                        self._advance(batch, await self._append(batch))
                    except (FenceMismatch, PublishUnknown) as doubt:
                        doubts += 1
                        await self._ponder(doubts, doubt)
                    except PublishRefused as refusal:
                        refusals += 1
                        log.warning("task %s: refused: %s", self._grant.key.task, refusal)
                        await asyncio.sleep(pause_s(refusals))
                    else:
                        return Verdict.STORED
                verdict = await self._settle(batch)
                if verdict is not None:
                    return verdict
            return Verdict.LOST
        finally:
            self._writing = False

    async def _ponder(self, doubts: int, doubt: BusError) -> None:
        """Log the first doubts and then ever fewer, and take time: a store may be full, or its copies behind."""
        level = logging.INFO if doubts.bit_count() == 1 else logging.DEBUG
        log.log(level, "task %s: in doubt (%d times): %s", self._grant.key.task, doubts, doubt)
        if doubts > _QUICK_DOUBTS:
            await asyncio.sleep(pause_s(doubts - _QUICK_DOUBTS))

    async def _append(self, batch: Batch) -> int:
        chunk = TaskChunk(
            n=self._next_n,
            attempt=self._grant.attempt,
            offset=self._chars,
            text=batch.text,
            tokens=batch.tokens,
            finish_reason=batch.finish_reason,
            usage=batch.usage,
            tool_calls=batch.tool_calls,
            logprobs=batch.logprobs,
            vectors=batch.vectors,
            prompt_tokens=batch.prompt_tokens,
        )
        self._sent = chunk_chain.extend(self._chain, chunk)
        if chunk.finish_reason is not None and self._sign is not None:
            chunk = replace(chunk, signature=self._sign(self._sent))
        fence = Fence(self._filter, self._last_sequence)
        return await self._link.append(self._grant.subject, encode(chunk), fence=fence)

    def _advance(self, batch: Batch, sequence: int) -> None:
        self._next_n += 1
        self._last_sequence = sequence
        self._chars += batch.chars
        self._chain = self._sent

    async def _settle(self, batch: Batch) -> Verdict | None:
        """Ask where we stand; None means: publish the batch again, now at the right place."""
        self._renewed.clear()
        standing = await self._ask()
        if standing.undecided:
            await self._await_grant()
            return None
        if not standing.yours:
            log.info("task %s: attempt %d is over: %s", self._grant.key.task, self._grant.attempt, standing.reason)
            return Verdict.VOID
        expected_n = self._next_n
        ahead = standing.chars - self._chars
        self._next_n, self._last_sequence = standing.next_n, standing.last_sequence
        # A last chunk may have no text: then only the stream's state tells whether it is there.
        is_stored = standing.next_n > expected_n if batch.chars else standing.written
        if is_stored and ahead == batch.chars:
            self._chars, self._chain = standing.chars, self._sent
            return Verdict.STORED
        if ahead == 0:
            await self._await_grant()
            return None
        log.error(
            "task %s: %d characters are stored, %d were written", self._grant.key.task, standing.chars, self._chars
        )
        return Verdict.LOST

    async def _await_grant(self) -> None:
        """Give the dispatcher a moment to hand the grant again, if it is gone; without one we ask again."""
        if not self._holds_grant():
            with suppress(TimeoutError):
                async with asyncio.timeout(GRANT_WAIT_S):
                    await self._renewed.wait()

    def _holds_grant(self) -> bool:
        is_fresh = time.monotonic() - self._granted_at_s < _RENEW_AFTER_S
        return not self.is_hidden and is_fresh and self._granted_on == connection_number(self._link)

    async def _ask(self) -> Standing:
        """Ask until somebody answers: the attempt's deadline, or a stop, ends this from outside."""
        key = self._grant.key
        ask = Ask(account=key.account, task=key.task, attempt=self._grant.attempt, hedge=self.is_hidden)
        question = encode(ask)
        tries = 0
        while True:
            try:
                answer = await self._link.request(self._ask_subject, question, timeout=ASK_TIMEOUT)
                return decode(answer.data, Standing)
            except (NoResponders, RequestTimedOut, UndecodableEvent) as error:
                tries += 1
                log.debug("task %s: no standing yet: %s", key.task, error)
                await asyncio.sleep(pause_s(tries))


def connection_number(link: Link) -> int:
    """Which connection of the link this is: grants of the broker die with the connection they came on."""
    return link.client.stats["reconnects"]
