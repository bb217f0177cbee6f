"""Sessions that their holders have ended, as this process knows them: the fold of SESSIONS, while it matters."""

from __future__ import annotations

import logging
from typing import Final

from streams.access.events import SessionEnded
from streams.clock import now_ms
from streams.codec import decode
from streams.errors import StreamsError
from streams.topology import SESSIONS_KEPT

log = logging.getLogger(__name__)

SESSION_SUBJECTS: Final = "sessions.*"

_KEPT_MS: Final = round(SESSIONS_KEPT.total_seconds() * 1000)


class EndedSessions:
    """A set that forgets what no token can name any more."""

    def __init__(self) -> None:
        """Start with none."""
        self._ended: dict[str, int] = {}
        self.count = 0
        """How many this process has heard of."""

    def __contains__(self, session_id: object) -> bool:
        """Whether a session was ended."""
        return session_id in self._ended

    def apply(self, sequence: int, subject: str, data: bytes) -> None:
        """Take in one event. What cannot be read ends its session all the same: nothing else stands there."""
        session_id = subject.rpartition(".")[2]
        try:
            at_ms = decode(data, SessionEnded).at_ms
        except StreamsError as error:
            log.error("event %d of SESSIONS ends its session, but cannot be read: %s", sequence, error)
            at_ms = now_ms()
        self._ended[session_id] = at_ms
        self.count += 1
        # In the order in which they came, so the first one that is kept ends the search.
        for known, ended_at_ms in tuple(self._ended.items()):
            if ended_at_ms > at_ms - _KEPT_MS:
                break
            del self._ended[known]
