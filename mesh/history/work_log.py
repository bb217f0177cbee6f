"""What nodes have done, as a projection of ENDED with its place in that stream."""

from __future__ import annotations

import logging

from streams.codec import decode_end_event
from streams.devices.reputation import WorkDone
from streams.errors import StreamsError

log = logging.getLogger(__name__)


class WorkLog:
    """Feeds a ``WorkDone``."""

    name = "work"
    version = WorkDone.VERSION

    def __init__(self, work: WorkDone) -> None:
        """Feed ``work``."""
        self._work = work

    def apply(self, sequence: int, subject: str, data: bytes) -> None:
        """Take in one end; what cannot be read is left out, with an error in the log."""
        try:
            self._work.apply(decode_end_event(data))
        except StreamsError as error:
            log.error("event %d of ENDED (%s) is left out: %s", sequence, subject, error)

    def dump(self) -> bytes:
        """Return the whole state."""
        return self._work.dump()

    def load(self, data: bytes) -> None:
        """Replace the whole state."""
        self._work.load(data)
