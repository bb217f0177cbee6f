"""BATCHES as gateways hold it: one fenced chain of events for each batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from mesh.bus.appends import Fence
from mesh.errors import BusError, FenceMismatch
from mesh.history.held_messages import messages_of, subjects_held
from streams.batches import subjects as batch_subjects
from streams.batches.fold import Batch, fold_batch
from streams.codec import decode_batch_event, encode
from streams.tasks.task_id import new_task_id
from streams.tokens import Token
from streams.topology import BATCHES

if TYPE_CHECKING:
    from collections.abc import Callable

    from mesh.bus.link import Link
    from streams.batches.events import BatchEvent

_CHAIN: Final = 64
"""More than a batch can have."""
_TRIES: Final = 8


class Standing(NamedTuple):
    """A batch as it stands, and the last event of its chain."""

    id: Token
    batch: Batch
    sequence: int


class BatchLog:
    """All batches, over a connection in CORE."""

    def __init__(self, core: Link) -> None:
        """Use ``core``."""
        self._core = core

    async def find(self, account: Token, name: Token) -> Standing | None:
        """Return a batch, or None if the account has none of this name.

        Raises:
            BusError: if it cannot be read.
        """
        subject = batch_subjects.batch(account, name)
        chain = await messages_of(self._core, BATCHES, subject, most=_CHAIN)
        batch = fold_batch(decode_batch_event(recorded.data) for recorded in chain)
        return None if batch is None else Standing(name, batch, chain[-1].sequence)

    async def list_all(self, account: Token) -> tuple[Token, ...]:
        """Return the names of an account's batches, the newest first.

        Raises:
            BusError: if they cannot be read.
        """
        held = await subjects_held(self._core, BATCHES, batch_subjects.batches_of(account))
        return tuple(sorted((batch_subjects.parse_batch(subject)[1] for subject in held), reverse=True))

    async def create(self, account: Token, event: BatchEvent) -> Token:
        """Store a new batch; returns its name.

        Raises:
            BusError: if it cannot be stored.
        """
        name = new_batch_id()
        subject = batch_subjects.batch(account, name)
        await self._core.append(subject, encode(event), fence=Fence(subject, 0))
        return name

    async def note(self, account: Token, name: Token, decide: Callable[[Batch], BatchEvent | None]) -> Standing | None:
        """Store what ``decide`` makes of a batch as it stands, unless that is None; returns how it stands then.

        Raises:
            BusError: if it cannot be stored.
        """
        subject = batch_subjects.batch(account, name)
        for _ in range(_TRIES):
            standing = await self.find(account, name)
            event = None if standing is None else decide(standing.batch)
            if standing is None or event is None:
                return standing
            try:
                await self._core.append(subject, encode(event), fence=Fence(subject, standing.sequence))
            except FenceMismatch:
                continue
            return await self.find(account, name)
        raise BusError(f"{subject} changes too fast: try again")


def new_batch_id() -> Token:
    """Make the id of a batch: tasks get theirs from it."""
    return Token(f"batch_{new_task_id()}")
