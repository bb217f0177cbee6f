"""PASSAGES as services hold it: batches of passages by file and generation, written once, and deleted for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.errors import BusError, SubjectTaken
from mesh.history.held_messages import delete_message, subjects_held
from mesh.history.stream_facts import last_message
from streams.codec import decode, encode
from streams.stores import subjects as store_subjects
from streams.stores.passages import PassageBatch
from streams.stores.subjects import PassagesKey, parse_passages
from streams.topology import PASSAGES

if TYPE_CHECKING:
    from collections.abc import Callable

    from mesh.bus.link import Link


class PassageLog:
    """All passages, over a connection in CORE."""

    def __init__(self, core: Link) -> None:
        """Use ``core``."""
        self._core = core

    async def put(self, key: PassagesKey, batch: PassageBatch) -> None:
        """Store some passages; what is there already stays as it is.

        Raises:
            BusError: if they cannot be stored, or that is not known.
        """
        try:
            await self._core.append(store_subjects.passages(*key), encode(batch))
        except SubjectTaken:
            return

    async def get(self, key: PassagesKey) -> PassageBatch | None:
        """Return some passages; None if they are not there.

        Raises:
            BusError: if they cannot be read.
        """
        message = await last_message(self._core, PASSAGES, store_subjects.passages(*key))
        return None if message is None else decode(message.data, PassageBatch)

    async def held(self, subject_filter: str) -> list[PassagesKey]:
        """Return what there is, of ``store_subjects.passages_of_…``.

        Raises:
            BusError: if that cannot be read.
        """
        return sorted(map(parse_passages, await subjects_held(self._core, PASSAGES, subject_filter)))

    async def sweep(self, subject_filter: str, is_wanted: Callable[[PassagesKey], bool]) -> int:
        """Delete what nobody wants any more, and write over it on the disk; returns how many messages.

        Raises:
            BusError: if it cannot be deleted: do it again.
        """
        unwanted = [key for key in await self.held(subject_filter) if not is_wanted(key)]
        for key in unwanted:
            await self._delete(store_subjects.passages(*key))
        return len(unwanted)

    async def _delete(self, subject: str) -> None:
        message = await last_message(self._core, PASSAGES, subject)
        if message is None:
            return
        refused = await delete_message(self._core, PASSAGES, message.sequence)
        # Others sweep too: what is gone is gone, whoever it was.
        if refused is not None and await last_message(self._core, PASSAGES, subject) is not None:
            raise BusError(f"{subject} cannot be deleted: {refused}")
