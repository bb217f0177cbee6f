"""The accounts as a projection: the fold of ACCESS, with its place in the stream."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from streams.access.fold import Access
from streams.codec import decode_access_event
from streams.errors import InvalidSubject, NewerEvent, StreamsError
from streams.subjects import parse_access

if TYPE_CHECKING:
    from streams.tokens import Token

log = logging.getLogger(__name__)

ACCESS_SUBJECTS: Final = "access.*"


class AccessLog:
    """Who may speak for which account: the fold of ACCESS."""

    name = "access"
    version = Access.VERSION

    def __init__(self, access: Access) -> None:
        """Feed ``access``."""
        self._access = access

    def apply(self, sequence: int, subject: str, data: bytes) -> None:
        """Take in one event.

        What is no event is left out, with an error in the log. What a newer version wrote may take a right away, so
        its account is closed to everybody here until this process is upgraded.
        """
        try:
            account = parse_access(subject)
        except InvalidSubject as error:
            log.error("event %d of ACCESS is left out: %s", sequence, error)
            return
        try:
            self._access.apply(account, decode_access_event(data))
        except NewerEvent as error:
            self._shut(sequence, account, error)
        except StreamsError as error:
            log.error("event %d of ACCESS (%s) is left out: %s", sequence, subject, error)

    def dump(self) -> bytes:
        """Return the whole state."""
        return self._access.dump()

    def load(self, data: bytes) -> None:
        """Replace the whole state."""
        self._access.load(data)

    def _shut(self, sequence: int, account: Token, error: NewerEvent) -> None:
        log.error(
            "event %d of ACCESS: nobody speaks for account %s here until an upgrade: %s", sequence, account, error
        )
        self._access.apply_unreadable(account, str(error))
